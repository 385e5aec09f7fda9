from __future__ import annotations

import json

import numpy as np

from ctgi.evaluation.bootstrap import Interval
from ctgi.evaluation.metrics import METRICS, evaluate_scores
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
