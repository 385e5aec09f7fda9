"""The soft judge against the formula in float64, its floor, and what it makes of what nobody knows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers, Facet
from ctgi.interaction.persons import described_by, same_person
from ctgi.interaction.reading import Reading, Said
from ctgi.interaction.soft import detail_log_likelihood, join, live_log_likelihood, log_likelihood

FACETS = (
    Facet("upper", "colour", ("red", "blue", "green", "cannot tell")),
    Facet("hat", "kind", ("cap", "none", "cannot tell")),
    Facet("held", "kind", ("phone", "nothing", "cannot tell")),
)


def dossiers(rng: np.random.Generator, count: int) -> Dossiers:
    tables = tuple(rng.dirichlet(np.full(len(f.values), 0.4), count).astype(np.float32) for f in FACETS)
    return Dossiers(FACETS, tuple(f"p{row}" for row in range(count)), tables)


def said(facet: int, *weights: float, doubt: float = 0.0) -> Said:
    return Said(facet, np.array([*weights, 0.0], np.float32), doubt)


def by_hand(some: Dossiers, reading: Reading, doubt: float) -> list[float]:
    """The module's formula, one picture and one value after another, in float64."""
    out = []
    for row in range(len(some)):
        total = 0.0
        for one in reading.says:
            table = some.probability[one.facet].astype(np.float64)
            counts = table[:, :-1].sum(axis=0) + 0.5
            prior = counts / counts.sum()
            wrong = 1 - (1 - doubt) * (1 - one.doubt)
            chance = sum(prior[v] * one.weights[v] for v in range(len(prior)))
            fits = sum(
                (table[row, v] + table[row, -1] * prior[v]) * one.weights[v] for v in range(len(prior))
            )
            total += math.log((1 - wrong) * fits / chance + wrong)
        out.append(total)
    return out


def test_it_is_the_formula() -> None:
    some = dossiers(np.random.default_rng(0), 20)
    reading = Reading((said(0, 1, 0, 0.5), said(1, 0, 1, doubt=0.5), said(2, 1, 0)))
    config = MTIConfig(doubt=0.07)
    assert log_likelihood(some, reading, config) == pytest.approx(by_hand(some, reading, 0.07), abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), doubt=st.floats(0.01, 0.5), own=st.floats(0, 0.9))
def test_no_detail_goes_below_the_floor(seed: int, doubt: float, own: float) -> None:
    some = dossiers(np.random.default_rng(seed), 8)
    for facet, width in enumerate(len(f.values) - 1 for f in FACETS):
        for value in range(width):
            weights = [0.0] * width
            weights[value] = 1.0
            worth = detail_log_likelihood(some, said(facet, *weights, doubt=own), MTIConfig(doubt=doubt))
            assert worth.min() >= math.log(doubt) - 1e-5
            assert np.abs(worth).max() <= abs(math.log(1 - (1 - doubt) * (1 - own))) + 8  # doubt only softens


def test_one_wrong_detail_does_not_throw_a_person_out() -> None:
    """Six details fit and one does not, against a picture where three fit: the first stays ahead."""
    facets = tuple(Facet(f"t{n}", "kind", ("a", "b", "cannot tell")) for n in range(7))
    right = [[1.0, 0.0, 0.0]] * 6 + [[0.0, 1.0, 0.0]]
    other = [[1.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 0.0]] * 4
    some = Dossiers(
        facets, ("right", "other"), tuple(np.array(p, np.float32) for p in zip(right, other, strict=True))
    )
    reading = Reading(tuple(said(n, 1, 0) for n in range(7)))
    worth = log_likelihood(some, reading, MTIConfig())
    assert worth[0] > worth[1] and np.isfinite(worth).all()


def test_who_cannot_tell_or_was_not_asked_is_where_everybody_starts() -> None:
    some = dossiers(np.random.default_rng(1), 5)
    reading = Reading((said(0, 0, 1, 0), said(1, 1, 0)))
    assert log_likelihood(some.of(["p3", "stranger"]), reading, MTIConfig())[1] == pytest.approx(0, abs=1e-6)
    assert log_likelihood(some, Reading(), MTIConfig()).tolist() == [0.0] * 5


def test_a_rare_detail_counts_for_more_than_a_common_one() -> None:
    hats = np.array([[1, 0, 0]] * 1 + [[0, 1, 0]] * 9, np.float32)
    some = Dossiers(FACETS[1:2], tuple("abcdefghij"), (hats,))
    cap = detail_log_likelihood(some, said(0, 1, 0), MTIConfig())[0]
    none = detail_log_likelihood(some, said(0, 0, 1), MTIConfig())[1]
    assert cap > none > 0


def test_doubt_in_the_text_softens_both_ways() -> None:
    some = dossiers(np.random.default_rng(2), 30)
    plain, doubted = (detail_log_likelihood(some, said(0, 1, 0, 0, doubt=d), MTIConfig()) for d in (0.0, 0.5))
    assert (np.abs(doubted) <= np.abs(plain) + 1e-6).all() and (np.abs(plain) > 0.1).any()


def test_slices_keep_the_prior_of_all() -> None:
    some = dossiers(np.random.default_rng(3), 40)
    reading = Reading((said(0, 1, 0, 0), said(1, 0, 1)))
    rows = np.array([7, 3, 39])
    assert log_likelihood(some.take(rows), reading, MTIConfig()) == pytest.approx(
        log_likelihood(some, reading, MTIConfig())[rows], abs=1e-6
    )


def test_joining_is_on_the_scale_of_the_similarity() -> None:
    config = MTIConfig(temperature=0.05, weight=0.5)
    joined = join(np.array([0.4, 0.3]), np.array([-1.0, 2.0], np.float32), config)
    assert joined == pytest.approx([0.4 - 0.025, 0.3 + 0.05])


def test_the_live_judge_is_weighed_against_its_own_mean() -> None:
    """By hand: mean 0.4 over the three that answered, doubt 0.1; a failed call tells nothing."""
    worth = live_log_likelihood(np.array([0.9, 0.2, 0.1, np.nan]), MTIConfig(doubt=0.1))
    hand = [math.log(0.9 * p / 0.4 + 0.1) for p in (0.9, 0.2, 0.1)]
    assert worth == pytest.approx([*hand, 0.0], abs=1e-6)
    assert live_log_likelihood(np.array([0.0, 0.0]), MTIConfig()).tolist() == [0, 0]
    assert live_log_likelihood(np.array([]), MTIConfig()).tolist() == []


def test_one_person_by_what_the_query_leaves_open() -> None:
    sure = np.eye(4, dtype=np.float32)
    hats = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    held = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    some = Dossiers(FACETS, tuple("abcd"), (sure[[0, 0, 1, 3]], hats, held))
    assert same_person(some, 0, 1, 0.1) > 0  # what is held changes and is no evidence
    assert same_person(some, 0, 2, 0.1) < 0
    assert same_person(some, 0, 3, 0.1) == pytest.approx(0, abs=1e-6)  # nothing is known of d
    assert same_person(some, 0, 1, 0.1, besides=(0, 1)) == 0  # all candidates agree with what the query says


def test_a_refined_reading_adds_what_the_anchor_shows_and_stays() -> None:
    tables = (
        np.array([[0.8, 0.2, 0, 0]], np.float32),
        np.array([[0.1, 0.1, 0.8]], np.float32),
        np.array([[1, 0, 0]], np.float32),
    )
    some = Dossiers(FACETS, ("a",), tables)
    refined = described_by(some, 0, Reading())
    assert [one.facet for one in refined.says] == [
        0
    ]  # a hat nobody could see, and what is held, are left out
    assert refined.says[0].weights.tolist() == pytest.approx([1, 0.25, 0, 0])
    query = said(0, 0, 0, 1)
    assert described_by(some, 0, Reading((query,))).says == (query,)  # the query's own word stands
