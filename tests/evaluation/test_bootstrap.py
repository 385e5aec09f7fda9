from __future__ import annotations

import numpy as np
import pytest

from ctgi.errors import CtgiError
from ctgi.evaluation.bootstrap import confidence_intervals, paired_difference
from ctgi.evaluation.metrics import Evaluation


def result(ranks, identities=None):
    ranks = np.asarray(ranks)
    count = len(ranks)
    return Evaluation(
        queries=np.arange(count),
        identities=np.arange(count) if identities is None else np.asarray(identities),
        first_rank=ranks,
        average_precision=1 / ranks,
        inverse_penalty=1 / ranks,
        excluded=0,
        gallery=100,
    )


def test_by_query_it_is_the_binomial_interval():
    # For 0/1 values the bootstrap distribution of the mean is binomial(n, p)/n: normal limits at n = 400.
    hits = np.where(np.arange(400) < 240, 1, 50)
    interval = confidence_intervals(result(hits), by="query", resamples=20_000)["R@1"]
    half = 1.959964 * 100 * np.sqrt(0.6 * 0.4 / 400)
    assert interval.value == pytest.approx(60)
    assert interval.low == pytest.approx(60 - half, abs=0.4) and interval.high == pytest.approx(
        60 + half, abs=0.4
    )


def test_queries_of_one_person_count_as_one():
    # 40 people with ten queries each, all hit or all missed: the spread is that of 40 draws, not of 400.
    ranks = np.repeat(np.where(np.arange(40) < 24, 1, 50), 10)
    people = np.repeat(np.arange(40), 10)
    clustered = confidence_intervals(result(ranks, people), resamples=20_000)["R@1"]
    alone = confidence_intervals(result(ranks, people), by="query", resamples=20_000)["R@1"]
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(10), rel=0.06)


def test_people_with_unequal_numbers_of_queries_against_a_loop():
    rng = np.random.default_rng(4)
    people = rng.integers(0, 15, 60)
    evaluation = result(rng.integers(1, 30, 60), people)
    values = evaluation.per_query()
    owners = np.unique(people)
    means = []
    for _ in range(20_000):
        rows = np.concatenate([np.flatnonzero(people == owner) for owner in rng.choice(owners, len(owners))])
        means.append(values[rows].mean(axis=0))
    want = np.quantile(means, [0.05, 0.95], axis=0)
    got = confidence_intervals(evaluation, level=0.9, resamples=20_000)
    np.testing.assert_allclose([(i.low, i.high) for i in got.values()], want.T, atol=0.7)


def test_pairing_sees_a_small_steady_gain():
    rng = np.random.default_rng(1)
    ranks = rng.integers(2, 40, 300)
    better = np.where(rng.random(300) < 0.1, 1, ranks)
    gain = paired_difference(result(ranks), result(better))["R@1"]
    assert gain.low > 0 and gain.worse == 0 and gain.value == pytest.approx(100 * (better == 1).mean())
    nothing = paired_difference(result(ranks), result(ranks))["mAP"]
    assert (nothing.value, nothing.low, nothing.high, nothing.worse) == (0, 0, 0, 1)


def test_same_seed_same_interval_and_faults():
    evaluation = result([1, 2, 3, 11])
    assert confidence_intervals(evaluation, seed=3) == confidence_intervals(evaluation, seed=3)
    with pytest.raises(CtgiError, match="level"):
        confidence_intervals(evaluation, level=95)
    with pytest.raises(CtgiError, match="resamples"):
        confidence_intervals(evaluation, resamples=0)
    with pytest.raises(CtgiError, match="identity or query"):
        confidence_intervals(evaluation, by="camera")
    with pytest.raises(CtgiError, match="different queries"):
        paired_difference(evaluation, result([1, 2, 3]))
