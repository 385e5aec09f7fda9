"""Which queries are asked, λ tried after the fact, and what the report says about a difference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ctgi.evaluation.metrics import evaluate
from demo.curves import line_chart
from demo.measure import _refused, chosen_queries, packed, unpacked
from demo.pedestrians.world import make_world
from demo.table import verdict


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    make_world(root, 5, {"train": 1, "val": 1, "test": 12}, 4, workers=1, layouts=("rstpreid",))
    return root


def test_queries_are_drawn_by_kind_and_the_same_each_time(world: Path) -> None:
    every = chosen_queries(world, "test", 10**6)
    some = chosen_queries(world, "test", 40)
    assert len(every) == 12 * 8 and len(some) == 40
    assert some == chosen_queries(world, "test", 40)
    assert [query for query in every if query in some] == some  # in the world's order
    whole, part = Counter(query.kind for query in every), Counter(query.kind for query in some)
    for kind, count in whole.items():
        assert abs(part[kind] - 40 * count / len(every)) < 1
    assert {query.identity for query in chosen_queries(world, "val", 4)}.isdisjoint(
        {query.identity for query in every}
    )


def test_another_lambda_is_equation_7(world: Path) -> None:
    rng = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        rows = rng.standard_normal(shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    texts, pictures, new = unit(3, 8), unit(9, 8), unit(1, 8)
    split = SimpleNamespace(
        ids=tuple("abcdefghi"),
        text_vectors=texts,
        picture_vectors=pictures,
        wanted=np.array([0, 1, 2]),
        owned=np.arange(9) // 3,
    )
    outcomes = [
        SimpleNamespace(refined_query="finer", anchor="b"),
        SimpleNamespace(refined_query=None, anchor=None),
        SimpleNamespace(refined_query=None, anchor="a"),
    ]
    encoders = SimpleNamespace(encode_texts=lambda lines: new)
    found = _refused(split, outcomes, encoders, 0.3)
    scores = texts.astype(np.float64) @ pictures.T.astype(np.float64)
    scores[0] = 0.3 * scores[0] + 0.7 * (new[0].astype(np.float64) @ pictures.T.astype(np.float64))
    scores[0, 1] = scores[2, 0] = 1.0  # the anchors
    order = np.argsort(-scores, axis=1)
    first = [
        1 + min(np.flatnonzero(split.owned[row] == who)) for row, who in zip(order, range(3), strict=True)
    ]
    assert found.first_rank.tolist() == first


def test_an_evaluation_survives_json() -> None:
    rng = np.random.default_rng(1)
    result = evaluate(
        rng.standard_normal((6, 4)).astype(np.float32),
        rng.standard_normal((8, 4)).astype(np.float32),
        np.array([0, 1, 2, 3, 0, 9]),
        np.arange(8) // 2,
    )
    again = unpacked(packed(result))
    assert again.summary() == result.summary() and again.excluded == 1
    some = unpacked(packed(result), np.array([True, False, True, False, True]))
    np.testing.assert_array_equal(some.per_query(), result.per_query()[[0, 2, 4]])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 3.0, "better"),
        (-3.0, -0.1, "worse"),
        (-0.1, 3.0, "no clear difference"),
        (0, 0, "no clear difference"),
    ],
)
def test_a_difference_counts_where_its_interval_leaves_out_nothing(
    low: float, high: float, word: str
) -> None:
    assert verdict({"low": low, "high": high}) == word


def test_a_chart_is_drawn_to_scale_and_text_is_text() -> None:
    chart = line_chart("<loss>", {"a & b": [3.0, 2.0, 1.0]})
    assert "&lt;loss&gt;" in chart and "a &amp; b" in chart and "<loss>" not in chart
    points = chart.split('points="')[1].split('"')[0].split()
    x, y = zip(*(map(float, point.split(",")) for point in points), strict=True)
    assert x[1] - x[0] == pytest.approx(x[2] - x[1]) and y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.11)
    assert y[0] < y[2]  # the larger value is higher up
