"""Signals joined as independent evidence: what must hold whatever they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctgi.errors import CtgiError
from ctgi.training.trust.join import FLOOR, Signal, joined, weights

PAIRS = 40
chances = arrays(np.float64, PAIRS, elements=st.floats(0, 1))
heard = arrays(np.float64, PAIRS, elements=st.one_of(st.just(np.nan), st.floats(0, 1)))


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


@given(chances)
def test_one_signal_is_itself_between_the_floors(p: np.ndarray) -> None:
    assert joined([Signal("a", p)], PAIRS) == pytest.approx(p.clip(FLOOR, 1 - FLOOR))


@given(chances)
def test_beside_neutral_signals_a_signal_is_itself(p: np.ndarray) -> None:
    silent, content = Signal("silent", np.full(PAIRS, np.nan)), Signal("content", np.ones(PAIRS))
    alone = joined([Signal("a", p)], PAIRS)
    assert joined([silent, Signal("a", p), content], PAIRS) == pytest.approx(alone)


@given(heard, heard, heard)
def test_it_is_a_probability_and_the_order_of_signals_does_not_matter(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    signals = [Signal("a", a), Signal("b", b), Signal("c", c)]
    chance = joined(signals, PAIRS)
    assert np.isfinite(chance).all() and (chance >= 0).all() and (chance <= 1).all()
    assert joined(signals[::-1], PAIRS) == pytest.approx(chance)


@given(chances, chances, st.integers(0, PAIRS - 1), st.floats(0, 1))
def test_it_rises_with_every_signal(a: np.ndarray, b: np.ndarray, pair: int, more: float) -> None:
    better = a.copy()
    better[pair] = max(a[pair], more)
    before = joined([Signal("a", a), Signal("b", b)], PAIRS)[pair]
    assert joined([Signal("a", better), Signal("b", b)], PAIRS)[pair] >= before - 1e-12


@given(chances, chances)
def test_a_pair_that_is_better_by_every_signal_is_trusted_more(a: np.ndarray, b: np.ndarray) -> None:
    chance = joined([Signal("a", a), Signal("b", b)], PAIRS)
    for one, other in zip(range(PAIRS - 1), range(1, PAIRS), strict=True):
        if a[one] >= a[other] and b[one] >= b[other]:
            assert chance[one] >= chance[other] - 1e-12


def test_evidence_adds_to_the_odds_as_bayes_says() -> None:
    """Two independent tests with known error rates, against Bayes' rule by hand (base rate 0.6)."""
    prior, first, second = 0.6, {1: 0.9, 0: 0.3}, {1: 0.8, 0: 0.4}  # P(positive | right), P(positive | wrong)

    def posterior(*outcomes: tuple[dict[int, float], bool]) -> float:
        right, wrong = prior, 1 - prior
        for test, positive in outcomes:
            right *= test[1] if positive else 1 - test[1]
            wrong *= test[0] if positive else 1 - test[0]
        return right / (right + wrong)

    # A population with exactly these frequencies, so that each signal's mean is the base rate.
    share = {x: prior * (first[1] if x else 1 - first[1]) + (1 - prior) * (first[0] if x else 1 - first[0])
             for x in (True, False)}  # fmt: skip
    count = 10_000
    ups = round(share[True] * count)
    one = np.array([posterior((first, True))] * ups + [posterior((first, False))] * (count - ups))
    share2 = prior * second[1] + (1 - prior) * second[0]
    rng = np.random.default_rng(0)
    positive = rng.permutation(np.arange(count) < round(share2 * count))
    two = np.where(positive, posterior((second, True)), posterior((second, False)))
    chance = joined([Signal("one", one), Signal("two", two)], count)
    for a in (True, False):
        for b in (True, False):
            where = (np.arange(count) < ups) == a
            got = chance[where & (positive == b)]
            assert got == pytest.approx(posterior((first, a), (second, b)), abs=2e-4)


def test_no_signal_is_believed_for_good() -> None:
    """A pair that one signal calls impossible and the other certain ends between the two."""
    a = np.array([0.0, 1.0] + [0.5] * 38)
    b = np.array([1.0, 0.0] + [0.5] * 38)
    chance = joined([Signal("a", a), Signal("b", b)], PAIRS)
    assert 0.3 < chance[0] < 0.7 and 0.3 < chance[1] < 0.7


def test_silence_about_a_pair_leaves_the_others_word() -> None:
    a = np.array([np.nan, 0.9] * 20)
    b = np.full(PAIRS, 0.5)
    b[:2] = 0.2, 0.2
    chance = joined([Signal("a", a), Signal("b", b)], PAIRS)
    assert chance[0] < chance[2] and logit(chance[2]) - logit(chance[0]) == pytest.approx(
        -logit(np.array(0.2))
    )
    assert joined([Signal("a", np.full(3, np.nan))], 3).tolist() == [1, 1, 1]
    assert joined([], 2).tolist() == [1, 1]


def test_pairs_below_the_least_count_nothing_and_nothing_at_all_is_refused() -> None:
    assert weights(np.array([0.05, 0.1, 0.7]), 0.1).tolist() == [0.0, 0.1, 0.7]
    with pytest.raises(
        CtgiError, match="no caption is trusted: the best of 2 is right with probability 0.050"
    ):
        weights(np.array([0.05, 0.01]), 0.1)
    with pytest.raises(CtgiError, match="no caption is trusted"):
        weights(np.zeros(3), 0.0)
