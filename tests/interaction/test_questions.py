"""Expected information against a plain enumeration, and what a question worth asking must be like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.interaction.dossier import Dossiers, Facet
from ctgi.interaction.questions import (
    expected_answers,
    in_order_of_worth,
    information,
    posterior,
    topics_worth_asking,
    worth_asking,
)


def dossiers(*tables: np.ndarray, topics: str = "abcdef") -> Dossiers:
    facets = [
        Facet(topics[n], f"f{n}", (*(f"v{v}" for v in range(t.shape[1] - 1)), "cannot tell"))
        for n, t in enumerate(tables)
    ]
    return Dossiers(
        tuple(facets),
        tuple(str(n) for n in range(len(tables[0]))),
        tuple(table.astype(np.float32) for table in tables),
    )


def random_table(rng: np.random.Generator, count: int, values: int) -> np.ndarray:
    return rng.dirichlet(np.full(values, 0.4), size=count)


def mutual_information(weights: np.ndarray, answers: np.ndarray) -> float:
    """Cover and Thomas, Elements of Information Theory, eq. 2.28, term by term."""
    total = 0.0
    for i, weight in enumerate(weights):
        for a in range(answers.shape[1]):
            joint = weight * answers[i, a]
            if joint > 0:
                total += joint * math.log(joint / (weight * sum(weights * answers[:, a])))
    return total


def test_the_gain_is_the_mutual_information_of_person_and_answer() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(12))
    table, prior = random_table(rng, 12, 5), rng.dirichlet(np.ones(4))
    answers = expected_answers(table, prior, weights, doubt=0.1)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-12)
    unable = sum(weights[i] * table[i, 4] for i in range(12))
    for i in range(12):
        for v in range(4):
            told = 0.9 * (table[i, v] + table[i, 4] * prior[v]) + 0.1 * prior[v]
            assert answers[i, v] == pytest.approx((1 - unable) * told, abs=1e-12)
    assert information(weights, answers) == pytest.approx(mutual_information(weights, answers), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), values=st.integers(2, 9))
def test_a_gain_is_never_negative_nor_more_than_there_is_to_know(seed: int, count: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(count, 0.5))
    answers = expected_answers(
        random_table(rng, count, values), rng.dirichlet(np.ones(values - 1)), weights, 0.05
    )
    entropy = -sum(w * math.log(w) for w in weights if w > 0)
    assert -1e-12 <= information(weights, answers) <= min(entropy, math.log(values)) + 1e-9


def test_the_facet_that_halves_the_candidates_is_asked_and_one_that_all_share_is_not() -> None:
    halves, same = np.zeros((8, 3)), np.zeros((8, 3))
    halves[:4, 0] = halves[4:, 1] = same[:, 0] = 1.0
    worths = worth_asking(dossiers(same, halves), np.full(8, 1 / 8), 0.05)
    assert [worth.facet for worth in worths] == [1, 0]
    assert 0.5 < worths[0].gain < math.log(2) and worths[1].gain < 1e-9  # a slip takes a little of one bit


def test_cannot_tell_is_priced_in() -> None:
    gains = []
    for hidden in (0.0, 0.3, 0.6, 0.9, 1.0):
        table = np.zeros((8, 3))
        table[:4, 0] = table[4:, 1] = 1 - hidden
        table[:, 2] = hidden
        gains.append(worth_asking(dossiers(table), np.full(8, 1 / 8), 0.05)[0].gain)
    assert gains == sorted(gains, reverse=True) and gains[3] < gains[0] / 20 and gains[4] < 1e-12
    # That some pictures do not show a thing says nothing about who is meant.
    shown = np.zeros((8, 3))
    shown[:4, 0] = shown[4:, 2] = 1.0
    alike = worth_asking(dossiers(shown), np.full(8, 1 / 8), 0.05)[0].gain
    assert alike < 0.02


def test_noise_makes_a_question_worth_less() -> None:
    sure, unsure = np.zeros((8, 3)), np.zeros((8, 3))
    sure[:4, 0] = sure[4:, 1] = 1.0
    unsure[:4] = (0.7, 0.3, 0.0)
    unsure[4:] = (0.3, 0.7, 0.0)
    assert [worth.facet for worth in worth_asking(dossiers(unsure, sure), np.full(8, 1 / 8), 0.05)] == [1, 0]


def test_what_is_settled_is_not_asked_and_improbable_candidates_do_not_count() -> None:
    rng = np.random.default_rng(3)
    tables = [random_table(rng, 30, 4) for _ in range(3)]
    weights = np.zeros(30)
    weights[:6] = 1 / 6
    assert {worth.facet for worth in worth_asking(dossiers(*tables), weights, 0.05, {1})} == {0, 2}
    some = dossiers(*tables).take(np.arange(6))
    near = {w.facet: w.gain for w in worth_asking(some, np.full(6, 1 / 6), 0.05)}
    for worth in worth_asking(dossiers(*tables), weights, 0.05):
        assert worth.gain == pytest.approx(near[worth.facet], abs=1e-9)


def test_a_topic_is_worth_its_facets_together() -> None:
    rng = np.random.default_rng(4)
    first, second = random_table(rng, 9, 3), random_table(rng, 9, 4)
    given_ = dossiers(first, second, topics="aa")
    weights = rng.dirichlet(np.ones(9))
    parts = [
        expected_answers(table, prior, weights, 0.05)
        for table, prior in zip(given_.probability, given_.prior, strict=True)
    ]
    joint = np.array([np.outer(parts[0][i], parts[1][i]).ravel() for i in range(9)])
    assert topics_worth_asking(given_, weights, 0.05)["a"] == pytest.approx(
        mutual_information(weights, joint)
    )
    alone = topics_worth_asking(given_, weights, 0.05, {0})["a"]
    assert alone == pytest.approx(worth_asking(given_, weights, 0.05, {0})[0].gain)
    assert topics_worth_asking(given_, weights, 0.05, {0, 1})["a"] == pytest.approx(0.0, abs=1e-12)


def test_topics_go_by_worth_and_unknown_ones_last() -> None:
    worths = {"hat": 0.1, "upper": 0.9, "logo": 0.0}
    assert in_order_of_worth(["logo", "shoes", "hat", "upper"], worths) == ["upper", "hat", "logo", "shoes"]


def test_the_posterior_is_a_softmax_that_large_numbers_do_not_break() -> None:
    np.testing.assert_allclose(posterior(np.array([1e6, 1e6 + math.log(3)])), [0.25, 0.75], atol=1e-9)


def test_ten_thousand_candidates_take_one_array_a_facet() -> None:
    rng = np.random.default_rng(5)
    many = dossiers(*(random_table(rng, 10_000, 15) for _ in range(6)))
    worths = worth_asking(many, posterior(rng.standard_normal(10_000)), 0.1)
    assert len(worths) == 6 and all(0 < worth.gain < math.log(15) for worth in worths)
