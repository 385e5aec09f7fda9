"""Metrics against plain definitions, in float64 and a loop per query.

Source of the definitions: IRRA's test protocol (full descending sort; AP = mean precision at each positive;
INP = positives / place of the last positive), with a stable sort for ties.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import METRICS, evaluate, evaluate_scores


def plain(scores, wanted, owned, anchors=None):
    rows = []
    for query, identity in enumerate(wanted):
        line = np.array(scores[query], dtype=np.float64)
        if anchors is not None and anchors[query] >= 0:
            line[anchors[query]] = np.inf
        hits = (np.asarray(owned) == identity)[np.argsort(-line, kind="stable")]
        if not hits.any():
            continue
        places = np.flatnonzero(hits) + 1
        ap = np.mean([(n + 1) / place for n, place in enumerate(places)])
        rows.append([places[0] <= 1, places[0] <= 5, places[0] <= 10, ap, len(places) / places[-1]])
    return 100 * np.array(rows, dtype=np.float64)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_equal_to_the_plain_definition_ties_included(data):
    queries, gallery = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 15))
    # Few distinct values, zero of both signs among them, so that ties are everywhere.
    value = st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0]).map(np.float32)
    scores = np.array(
        data.draw(
            st.lists(st.lists(value, min_size=gallery, max_size=gallery), min_size=queries, max_size=queries)
        )
    )
    wanted = data.draw(st.lists(st.integers(0, 4), min_size=queries, max_size=queries))
    owned = data.draw(st.lists(st.integers(0, 4), min_size=gallery, max_size=gallery))
    anchors = data.draw(
        st.none() | st.lists(st.integers(-1, gallery - 1), min_size=queries, max_size=queries)
    )
    block = data.draw(st.integers(1, 5))
    want = plain(scores, wanted, owned, anchors)
    if not len(want):
        with pytest.raises(CtgiError, match="none of the"):
            evaluate_scores(lambda a, b: scores[a:b], wanted, owned, anchors=anchors, block=block)
        return
    got = evaluate_scores(lambda a, b: scores[a:b], wanted, owned, anchors=anchors, block=block)
    np.testing.assert_allclose(got.per_query(), want, rtol=0, atol=1e-9)
    assert got.excluded == queries - len(want) and got.gallery == gallery


def test_inner_products_many_positives_and_any_block():
    rng = np.random.default_rng(3)
    queries, gallery = (rng.standard_normal((n, 16)).astype(np.float32) for n in (70, 300))
    wanted, owned = rng.integers(0, 9, 70), rng.integers(0, 8, 300)
    want = plain(queries.astype(np.float64) @ gallery.T.astype(np.float64), wanted, owned)
    for block in (1, 7, 256):
        got = evaluate(queries, gallery, wanted, owned, block=block)
        np.testing.assert_allclose(got.per_query(), want, atol=1e-9)
        assert got.summary() == dict(zip(METRICS, got.per_query().mean(axis=0), strict=True))


def test_a_worked_example():
    # Places of the two positives are 1 and 4: AP = (1/1 + 2/4)/2, INP = 2/4.
    result = evaluate_scores(lambda a, b: np.array([[0.9, 0.8, 0.7, 0.6]]), ["x"], ["x", "y", "z", "x"])
    assert result.summary() == {"R@1": 100.0, "R@5": 100.0, "R@10": 100.0, "mAP": 75.0, "mINP": 50.0}
    assert result.first_rank.tolist() == [1] and result.identities.tolist() == ["x"]


def test_the_anchor_comes_first_even_among_ones():
    scores = np.array([[1.0, 1.0, 0.2]], dtype=np.float32)
    assert evaluate_scores(lambda a, b: scores, [7], [1, 2, 7]).first_rank.tolist() == [3]
    assert evaluate_scores(lambda a, b: scores, [7], [1, 2, 7], anchors=[2]).first_rank.tolist() == [1]
    assert scores.tolist() == [[1.0, 1.0, np.float32(0.2)]]


def test_bad_input_is_named():
    vectors = np.eye(3, dtype=np.float32)
    for arguments, reason in (
        ((vectors, np.ones((3, 2), np.float32), [0, 1, 2], [0, 1, 2]), "one release"),
        ((vectors, vectors, [0, 1], [0, 1, 2]), "one identity"),
        ((vectors * np.nan, vectors, [0, 1, 2], [0, 1, 2]), "not finite"),
        ((vectors, vectors, [0, 1, 2], [3, 4, 5]), "none of the 3 queries"),
    ):
        with pytest.raises(CtgiError, match=reason):
            evaluate(*arguments)
    with pytest.raises(CtgiError, match="anchors"):
        evaluate(vectors, vectors, [0, 1, 2], [0, 1, 2], anchors=[0, 1, 3])


@pytest.mark.slow
def test_twenty_thousand_square_stays_below_two_gigabytes():
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    code = (
        "import numpy as np\nfrom benchmarks.measure import peak_memory\n"
        "from ctgi.evaluation.metrics import evaluate\n"
        "rng = np.random.default_rng(0)\n"
        "v = rng.standard_normal((20000, 512), dtype=np.float32)\n"
        "i = np.arange(20000) // 20\n"
        "evaluate(v + 1, v, i, i)\n"
        "print(peak_memory())"
    )
    peak = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    assert 20000 * 512 * 4 < int(peak) < 2e9
