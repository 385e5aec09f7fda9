"""The measurement as one picture: R@1 by kind of query, and the conversations round by round."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctgi.storage.atomic import write_bytes
from demo.interaction.methods import KINDS
from demo.interaction.rounds import WAYS

_COLOURS = ("#9aa3ad", "#1f6feb", "#2e8b57", "#d9822b", "#b3322f")
_SHOWN = ("none", "paper", "anchors", "dossier-200", "all")


def save_figure(results: Mapping[str, Any], path: Path) -> None:
    """A PNG with two charts, written atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    rows = {row["name"]: row for row in results["summary"]["rows"]}
    kinds = ["all", *(kind for kind in KINDS if kind in rows["none"])]
    width = 0.8 / len(_SHOWN)
    for number, name in enumerate(_SHOWN):
        items = [rows[name][kind]["metrics"]["R@1"] for kind in kinds]
        at = [place + (number - (len(_SHOWN) - 1) / 2) * width for place in range(len(kinds))]
        heights = [item["value"] for item in items]
        spread = [
            [item["value"] - item["low"] for item in items],
            [item["high"] - item["value"] for item in items],
        ]
        left.bar(at, heights, width, color=_COLOURS[number], label=rows[name]["title"])
        left.errorbar(at, heights, spread, fmt="none", ecolor="#333333", elinewidth=0.8)
    left.set_xticks(range(len(kinds)), [KINDS.get(kind, "all queries") for kind in kinds], fontsize=8)
    left.set_ylabel("R@1, %")
    left.legend(fontsize=8, frameon=False)
    rounds = results["rounds"]
    for colour, (way, title) in zip(_COLOURS[1:], WAYS.items(), strict=False):
        hits = rounds["ways"][way]["hits"]
        right.plot(range(len(hits)), [item["value"] for item in hits], "o-", color=colour, label=title)
        right.fill_between(
            range(len(hits)),
            [item["low"] for item in hits],
            [item["high"] for item in hits],
            color=colour,
            alpha=0.12,
        )
    right.set_xlabel("questions asked")
    right.set_ylabel("Hits@10, %")
    right.legend(fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    write_bytes(path, out.getvalue())
