"""Interactive metrics against their definitions, one query and one round at a time.

Source of the definitions: PlugIR (arXiv:2406.03411) and its evaluation code, whose ranks count from 0:
Hits@10(t) over the best rank so far, Recall@10(t) over the rank of the round, and
BRI = 1/T sum_t mean_q (ln(b_q(t) + 1) + ln(b_q(t+1) + 1)) / 2.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.evaluation.interactive import (
    bri_per_query,
    interactive_intervals,
    interactive_metrics,
    ranks_by_round,
)
from ctgi.evaluation.metrics import evaluate_scores

RANKS = st.integers(2, 6).flatmap(
    lambda rounds: st.integers(1, 8).flatmap(
        lambda queries: st.lists(
            st.lists(st.integers(1, 60), min_size=queries, max_size=queries), min_size=rounds, max_size=rounds
        )
    )
)


def plain(ranks: list[list[int]]) -> tuple[list[float], list[float], float]:
    count, rounds = len(ranks[0]), len(ranks)
    zero_based = [[rank - 1 for rank in row] for row in ranks]
    best = [[min(zero_based[s][q] for s in range(t + 1)) for q in range(count)] for t in range(rounds)]
    hits = [100 * sum(b < 10 for b in row) / count for row in best]
    recall = [100 * sum(r < 10 for r in row) / count for row in zero_based]
    bri = 0.0
    for t in range(rounds - 1):
        pairs = [(math.log(best[t][q] + 1) + math.log(best[t + 1][q] + 1)) / 2 for q in range(count)]
        bri += sum(pairs) / count
    return hits, recall, bri / (rounds - 1)


@settings(max_examples=200, deadline=None)
@given(RANKS)
def test_equal_to_the_definitions(ranks: list[list[int]]) -> None:
    found = interactive_metrics(ranks)
    hits, recall, bri = plain(ranks)
    np.testing.assert_allclose(found.hits, hits, atol=1e-9)
    np.testing.assert_allclose(found.recall, recall, atol=1e-9)
    assert found.bri == pytest.approx(bri, abs=1e-9)
    assert bri_per_query(ranks).mean() == pytest.approx(bri, abs=1e-9)
    assert (np.diff(found.hits) >= 0).all() and (found.hits >= found.recall).all() and found.bri >= 0


@settings(deadline=None)
@given(RANKS, st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_matter_and_a_better_round_never_harms(ranks, random) -> None:
    table = np.array(ranks)
    order = list(range(table.shape[1]))
    random.shuffle(order)
    assert interactive_metrics(table[:, order]).bri == pytest.approx(interactive_metrics(table).bri)
    better = np.vstack([table, np.ones((1, table.shape[1]), int)])
    assert interactive_metrics(better).hits[-1] == 100.0
    worse = np.vstack([table, np.full((1, table.shape[1]), 1000)])
    assert interactive_metrics(worse).hits[-1] == interactive_metrics(table).hits[-1]
    assert interactive_metrics(worse).recall[-1] == 0.0


def test_a_worked_example() -> None:
    # First query: places 20, 5, 8; second: 1 throughout.
    found = interactive_metrics([[20, 1], [5, 1], [8, 1]])
    assert found.hits.tolist() == [50.0, 100.0, 100.0] and found.recall.tolist() == [50.0, 100.0, 100.0]
    first = ((math.log(20) + math.log(5)) / 2 + math.log(5)) / 2
    assert found.bri == pytest.approx(first / 2)
    assert interactive_metrics([[1], [1]]).bri == 0.0
    assert interactive_metrics([[3], [2]], within=2).hits.tolist() == [0.0, 100.0]


def test_of_several_right_pictures_the_best_ranked_counts() -> None:
    wanted, owned = [1, 2], [0, 1, 1]  # nobody is identity 2
    tables = [np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]]), np.array([[0.1, 0.8, 0.7], [0.1, 0.2, 0.3]])]
    before, after = (evaluate_scores(lambda a, b, t=t: t[a:b], wanted, owned) for t in tables)
    assert ranks_by_round([before, after]).tolist() == [[2], [1]]
    other = evaluate_scores(lambda a, b: np.eye(2)[a:b], [0, 1], [0, 1])
    with pytest.raises(CtgiError, match="different queries"):
        ranks_by_round([before, other])


def test_intervals_hold_the_values_and_draw_people_not_queries() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 5)
    ranks = np.stack([np.repeat(rng.integers(1, 40, 40), 5) for _ in range(3)])
    found, clustered = interactive_metrics(ranks), interactive_intervals(ranks, people)
    assert [i.value for i in clustered.hits] == pytest.approx(found.hits.tolist())
    assert [i.value for i in clustered.recall] == pytest.approx(found.recall.tolist())
    assert clustered.bri.value == pytest.approx(found.bri)
    assert clustered.bri.low < found.bri < clustered.bri.high
    alone = interactive_intervals(ranks, np.arange(200)).bri
    # Five equal queries a person: the spread is that of 40 draws, not of 200.
    widths = [interval.high - interval.low for interval in (clustered.bri, alone)]
    assert widths[0] / widths[1] == pytest.approx(5**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ([[1, 2]], "at least one round"),
        ([1, 2], "at least one round"),
        ([[], []], "one query"),
        ([[0], [1]], "from 1"),
        ([[1.5], [1.0]], "whole numbers"),
    ],
)
def test_bad_ranks_are_named(ranks, said: str) -> None:
    with pytest.raises(CtgiError, match=said):
        interactive_metrics(ranks)
    with pytest.raises(CtgiError, match="identities for"):
        interactive_intervals([[1, 2], [1, 1]], [0])
