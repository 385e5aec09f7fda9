"""The three signals: monotone in what they measure, and calibrated where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from ctgi.datasets.pseudo import AnswerRecord, PseudoCaption
from ctgi.errors import CtgiError
from ctgi.training.trust.answers import answers_signal
from ctgi.training.trust.isotonic import isotonic
from ctgi.training.trust.losses import loss_signal
from ctgi.training.trust.similarity import right_probability, similarity_signal


def told(*answers: tuple[float | None, bool]) -> PseudoCaption:
    pairs = tuple(AnswerRecord("hat", "?", "a hat", p, kept, None) for p, kept in answers)
    return PseudoCaption("p", "p.jpg", 0, "a man", "a man", pairs)


def test_answers_are_the_mean_of_what_was_kept() -> None:
    signal = answers_signal([told((0.9, True), (0.4, True), (0.01, False)), told((None, True)), told()])
    assert signal.probability[0] == pytest.approx(0.65)
    assert np.isnan(signal.probability[1:]).all() and signal.known.tolist() == [True, False, False]
    with pytest.raises(CtgiError, match="leave answers out of --trust"):
        answers_signal([told((None, True)), told((0.5, False))])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.data())
def test_answers_rise_with_every_answer_and_are_probabilities(p: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(p) - 1))
    better = [*p]
    better[place] = data.draw(st.floats(p[place], 1))
    low, high = answers_signal([told(*((x, True) for x in q)) for q in (p, better)]).probability
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-9


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.floats(-10, 10), st.floats(0.1, 10)), min_size=1, max_size=30)
)
def test_isotonic_is_scipys(points: list[tuple[int, float, float]]) -> None:
    """Against scipy.optimize.isotonic_regression on the means of equal x."""
    x, y, w = (np.array(column, float) for column in zip(*points, strict=True))
    values = np.unique(x)
    mass = np.array([w[x == v].sum() for v in values])
    mean = np.array([(w * y)[x == v].sum() for v in values]) / mass
    expected = isotonic_regression(mean, weights=mass).x
    assert isotonic(x, y, w) == pytest.approx(expected[np.searchsorted(values, x)], abs=1e-9)


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-3, 3)),
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-3, 3)),
)
def test_similarity_never_falls_with_the_score(own: np.ndarray, wrong: np.ndarray) -> None:
    p = right_probability(own, wrong)
    assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
    assert (np.diff(p[np.argsort(own, kind="stable")]) >= -1e-12).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
def test_similarity_is_calibrated_without_labels(share: float) -> None:
    """Scores from two known normal distributions: the probability is the frequency, and the share of wrong
    pairs is found."""
    rng = np.random.default_rng(3)
    count = 6000
    right = rng.random(count) >= share
    own = np.where(right, rng.normal(2.5, 1, count), rng.normal(0, 1, count))
    p = right_probability(own, rng.normal(0, 1, 4 * count))
    assert p.mean() == pytest.approx(1 - share, abs=0.04)
    for low, high in ((0.0, 0.25), (0.25, 0.75), (0.75, 1.01)):
        chosen = (p >= low) & (p < high)
        if chosen.sum() > 100:
            assert p[chosen].mean() == pytest.approx(right[chosen].mean(), abs=0.08)


def test_similarity_finds_who_was_exchanged() -> None:
    rng = np.random.default_rng(1)
    pictures = rng.normal(size=(300, 24))
    texts = pictures + 0.8 * rng.normal(size=pictures.shape)
    texts += 5 * rng.normal(size=24)  # what all captions have in common says nothing
    moved = np.arange(0, 300, 4)
    texts[moved] = texts[np.roll(moved, 1)]
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (texts, pictures)]
    signal = similarity_signal(*unit, np.arange(300), np.arange(300) // 2, seed=1)
    wrong = np.isin(np.arange(300), moved)
    assert np.median(signal.probability[~wrong]) > 0.9 and np.median(signal.probability[wrong]) < 0.3
    assert signal.base == pytest.approx(0.75, abs=0.1)
    again = similarity_signal(*unit, np.arange(300), np.arange(300) // 2, seed=1)
    assert (again.probability == signal.probability).all()


def test_similarity_is_silent_without_strangers_and_survives_equal_vectors() -> None:
    same = np.full((4, 2), 0.5**0.5, np.float32)
    assert not similarity_signal(same, same, np.arange(4), np.zeros(4, np.int64)).known.any()
    p = similarity_signal(same, same, np.arange(4), np.arange(4)).probability
    assert np.isfinite(p).all()


def test_losses_are_evidence_where_wrong_pairs_cost_more() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.normal(1.0, 0.1, (400, 2))
    one = np.hstack([rng.normal(0.2, 0.05, (400, 2)), wrong])
    assert loss_signal(one).probability.min() > 0.95 and loss_signal(one).base > 0.98
    told_apart_by_nobody = np.hstack([wrong, rng.permuted(wrong, axis=0)])
    assert (loss_signal(told_apart_by_nobody).probability == 1).all()
    two = np.concatenate([rng.normal(0.2, 0.05, (300, 2)), rng.normal(1.0, 0.1, (100, 2))])
    p = loss_signal(np.hstack([two, wrong])).probability
    assert p[:300].min() > 0.9 and p[300:].mean() < 0.2


def test_a_view_of_losses_without_a_vote_does_not_count_as_trust() -> None:
    rng = np.random.default_rng(0)
    telling = np.concatenate([rng.normal(0.2, 0.05, 300), rng.normal(1.0, 0.1, 100)])
    blind = rng.normal(0.5, 0.1, 400)
    losses = np.stack([telling, blind, rng.normal(1.0, 0.1, 400), rng.permutation(blind)], axis=1)
    assert loss_signal(losses).probability[300:].mean() < 0.2


@settings(deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 80), st.just(2)), elements=st.floats(0, 5)))
def test_a_smaller_loss_is_never_trusted_less(losses: np.ndarray) -> None:
    p = loss_signal(losses).probability
    assert np.isfinite(p).all()
    assert (np.diff(p[np.argsort(losses[:, 0], kind="stable")]) <= 1e-6).all()
