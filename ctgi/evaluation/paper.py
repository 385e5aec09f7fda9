"""The figures that the paper prints for itself, and where they do not agree with each other.

Source: Xie et al., Chat-Driven Text Generation and Interaction for Person Retrieval (EMNLP 2025), Tables 1 to
4, in percent. Nothing here was measured by this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PAPER_METRICS = ("R@1", "R@5", "R@10", "mAP")


class Cell(NamedTuple):
    """One configuration of the ablation; `backbone` is "irra", "rde" or another name."""

    backbone: str
    mtg: bool
    mti: bool
    pes: bool


# Table 4. All rows but those marked "w/o PES" have it.
_RSTPREID = {
    Cell("irra", True, False, True): (52.30, 74.65, 84.05, 40.03),
    Cell("irra", False, True, True): (55.50, 77.50, 86.55, 44.87),
    Cell("irra", True, True, True): (64.20, 83.55, 90.30, 48.03),
    Cell("irra", True, True, False): (63.00, 82.65, 88.80, 47.60),
    Cell("rde", True, False, True): (60.55, 79.85, 86.30, 44.98),
    Cell("rde", False, True, True): (62.55, 82.85, 89.00, 46.43),
    Cell("rde", True, True, True): (66.35, 85.50, 91.25, 49.66),
    Cell("rde", True, True, False): (65.75, 84.05, 90.60, 49.60),
}
# Tables 1 and 2: only the whole method.
_WHOLE = {
    "cuhk-pedes": {"irra": (63.53, 80.25, 87.84, 52.37), "rde": (67.82, 85.45, 90.63, 55.14)},
    "icfg-pedes": {"irra": (48.76, 67.38, 74.66, 27.42), "rde": (56.16, 73.18, 79.42, 32.40)},
}

NOTES: Mapping[str, tuple[str, ...]] = {
    "rstpreid": (
        "The paper gives two values of mAP for one and the same row: 49.66 (IRRA) and 51.51 (RDE) in its "
        "Table 3, 48.03 and 49.66 in its Table 4, with equal Rank-1, 5 and 10. Shown are those of Table 4.",
        "The paper does not say what its rows with MTI alone were trained on; here they are trained on first "
        "descriptions (T_s). It has no row without both MTG and MTI.",
    ),
    "cuhk-pedes": ("For CUHK-PEDES the paper reports the whole method only (Table 1).",),
    "icfg-pedes": (
        "For ICFG-PEDES the paper reports the whole method only (Table 2). Its text says that these figures "
        "exceed the best supervised methods in some metrics; the table shows none.",
    ),
}


def paper_figures(layout: str, cell: Cell) -> dict[str, float] | None:
    """R@1, R@5, R@10 and mAP that the paper prints for this data set and cell, or None."""
    if layout == "rstpreid":
        row = _RSTPREID.get(cell)
    elif cell.mtg and cell.mti and cell.pes:
        row = _WHOLE.get(layout, {}).get(cell.backbone)
    else:
        row = None
    return None if row is None else dict(zip(PAPER_METRICS, row, strict=True))
