from __future__ import annotations

import json

import numpy as np

from ctgi.evaluation.bootstrap import Interval
from ctgi.evaluation.metrics import METRICS, evaluate_scores
from ctgi.evaluation.paper import NOTES, Cell, paper_figures
from ctgi.evaluation.table import Row, as_json, latex, markdown


def row(value, **flags):
    intervals = {name: Interval(value, value - 1.25, value + 1.25) for name in METRICS}
    return Row(flags.pop("method", "Ours"), **flags, metrics=intervals, queries=9, excluded=1)


ROWS = [
    row(40.0, mtg=False, mti=False, pes=True),
    row(52.301, mtg=True, mti=False, pes=True, method="A_b | 50%"),
    row(52.299, mtg=True, mti=True, pes=False),
]


def test_markdown():
    lines = markdown(ROWS).splitlines()
    assert lines[0] == "| Method | MTG | MTI | PES | Rank-1 | Rank-5 | Rank-10 | mAP | mINP |"
    assert lines[2].startswith("| Ours |  |  | ✓ | 40.00 [38.8, 41.2] |")
    assert lines[3].startswith(r"| A_b \| 50% | ✓ |  | ✓ | **52.30** [51.1, 53.6] |")
    assert "| ✓ | ✓ |  | **52.30** [" in lines[4]  # shown equal, so both are best


def test_latex_is_balanced_and_escaped():
    text = latex(ROWS, caption="R&D 100%")
    assert (
        r"\caption{R\&D 100\%}" in text
        and r"A\_b | 50\% & \checkmark &  & \checkmark & \textbf{52.30} [" in text
    )
    assert (
        text.count("{") == text.count("}") and len([x for x in text.splitlines() if x.count(" & ") == 8]) == 4
    )


def test_json_round_trip():
    table = json.loads(json.dumps(as_json(ROWS)))
    assert [Row.from_dict(item) for item in table["rows"]] == ROWS


def test_a_row_from_an_evaluation():
    result = evaluate_scores(lambda a, b: np.eye(4)[a:b], [0, 1, 2, 9], [0, 1, 2, 3])
    made = Row.of("Ours", result, mtg=True, mti=False, pes=True)
    assert made.metrics["R@1"] == Interval(100.0, 100.0, 100.0) and (made.queries, made.excluded) == (3, 1)


PAPER = [None, {"R@1": 52.3, "R@5": 74.65, "R@10": 84.05, "mAP": 40.03}, None]


def test_the_papers_figures_stand_beside_and_notes_below():
    lines = markdown(ROWS, PAPER, ["Shown are those of Table 4.", "Another | note."]).splitlines()
    assert lines[0].endswith("| mINP | paper: R@1 / R@5 / R@10 / mAP |") and lines[1].count("|") == 11
    assert lines[2].endswith("| – |") and lines[3].endswith("| 52.30 / 74.65 / 84.05 / 40.03 |")
    assert lines[5:] == ["", "- Shown are those of Table 4.", "- Another | note."]
    text = latex(ROWS, "x", paper=PAPER, notes=["50 % & more"])
    assert r"\begin{tabular}{lcccrrrrrr}" in text and r"\par\footnotesize 50 \% \& more" in text
    assert text.count("{") == text.count("}") and "52.30 / 74.65" in text
    table = json.loads(json.dumps(as_json(ROWS, paper=PAPER, notes=["n"])))
    assert [row["paper"] for row in table["rows"]] == PAPER and table["notes"] == ["n"]


def test_the_papers_figures_as_it_prints_them():
    # Table 1 to 4 of the paper, typed a second time, row by row.
    assert paper_figures("rstpreid", Cell("irra", True, True, True)) == {
        "R@1": 64.20, "R@5": 83.55, "R@10": 90.30, "mAP": 48.03
    }  # fmt: skip
    printed = {
        (cell, mtg, mti, pes): list(found.values())
        for cell in ("irra", "rde", "sdm")
        for mtg in (False, True)
        for mti in (False, True)
        for pes in (False, True)
        if (found := paper_figures("rstpreid", Cell(cell, mtg, mti, pes))) is not None
    }
    assert printed == {
        ("irra", True, False, True): [52.30, 74.65, 84.05, 40.03],
        ("irra", False, True, True): [55.50, 77.50, 86.55, 44.87],
        ("irra", True, True, True): [64.20, 83.55, 90.30, 48.03],
        ("irra", True, True, False): [63.00, 82.65, 88.80, 47.60],
        ("rde", True, False, True): [60.55, 79.85, 86.30, 44.98],
        ("rde", False, True, True): [62.55, 82.85, 89.00, 46.43],
        ("rde", True, True, True): [66.35, 85.50, 91.25, 49.66],
        ("rde", True, True, False): [65.75, 84.05, 90.60, 49.60],
    }
    whole = {
        name: paper_figures(name, Cell("rde", True, True, True)) for name in ("cuhk-pedes", "icfg-pedes")
    }
    assert [found and found["R@1"] for found in whole.values()] == [67.82, 56.16]
    assert paper_figures("cuhk-pedes", Cell("rde", True, False, True)) is None
    assert paper_figures("ufine6926", Cell("irra", True, True, True)) is None
    assert "49.66" in NOTES["rstpreid"][0] and "48.03" in NOTES["rstpreid"][0]
