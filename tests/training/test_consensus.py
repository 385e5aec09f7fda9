from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctgi.training.consensus import (
    clean_probability,
    density_ratio,
    fit_mixture,
    judge,
    published_probability,
    share_of_wrong,
)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]


def twice(losses: Array) -> Array:
    return np.stack([losses, losses], axis=1)


def monotone(losses: Array, wrong: Array) -> Array:
    return judge(twice(losses), twice(wrong), "monotone", seed=(0, 0)).trust.astype(np.float64)


def hinge(chance: np.random.Generator, size: int, mean: float = -0.05) -> Array:
    """Two hinges added up, as TAL's two directions are: exactly 0 for many a pair."""
    return np.maximum(0, chance.normal(mean, 0.1, (2, size))).sum(axis=0)


CLEAN: dict[str, Draw] = {
    "normal": lambda c, n: c.normal(0.3, 0.1, n),
    "half normal": lambda c, n: np.abs(c.normal(0, 0.1, n)),
    "exponential": lambda c, n: c.exponential(0.1, n),
    "uniform": lambda c, n: c.uniform(0, 1, n),
    "flat-topped": lambda c, n: c.beta(2, 2, n),
    "skewed": lambda c, n: c.gamma(2, 0.1, n),
    "hinges, mostly met": hinge,
    "hinges, half met": lambda c, n: hinge(c, n, 0.0),
    "hinges, hardly met": lambda c, n: hinge(c, n, 0.05),
    "all equal": lambda c, n: np.full(n, 0.2),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("size", [1, 2, 30, 300, 5000])
@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 4.0])
def test_a_clean_set_is_kept(name: str, size: int, apart: float) -> None:
    """Wrong pairs cost 0 to 4 standard deviations more: at 0 the losses tell nothing, at 1 little; then
    what is doubted is at most the tail that reaches where wrong pairs are."""
    chance = np.random.default_rng(size)
    losses = CLEAN[name](chance, size)
    deviation = CLEAN[name](chance, 10000).std() + 0.01
    wrong = chance.normal(CLEAN[name](chance, 10000).mean() + apart * deviation, deviation, size)
    trust = monotone(losses, wrong)
    least = {0.0: 0.65, 1.0: 0.65, 2.0: 0.8, 4.0: 0.95}[apart]
    assert trust.mean() > least and (trust > 0.5).mean() > least


def test_the_published_rule_throws_half_of_it_away() -> None:
    """What is repaired: 39 to 58 % of a unimodal set judged noisy, and all of a set of equal losses."""
    normal = CLEAN["normal"](np.random.default_rng(0), 3000)
    nothing = np.empty((0, 2))
    assert 0.3 < judge(twice(normal), nothing, "published", seed=(0, 0)).trust.mean() < 0.7
    assert judge(twice(np.full(300, 0.2)), nothing, "published", seed=(0, 0)).trust.mean() == 0


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("hinged", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wrong_pairs_are_found(share: float, hinged: bool, seed: int) -> None:
    """They are doubted as far as their share can be known: with W of them in the set its standard error is
    1 / sqrt(W) of it, and that part of the doubt may be missing, here to three errors."""
    chance = np.random.default_rng(seed)
    right, wrong = round(5000 * (1 - share)), round(5000 * share)
    low = hinge(chance, right) if hinged else chance.normal(0.2, 0.1, right)
    trust = monotone(np.concatenate([low, chance.normal(0.8, 0.1, wrong)]), chance.normal(0.8, 0.1, 5000))
    assert trust[:right].mean() > 0.97 and trust[right:].mean() < 0.05 + 3 / np.sqrt(wrong)
    assert (trust[:right] > 0.5).mean() > 0.98 and (trust[right:] > 0.5).mean() < 0.08


def test_wrong_pairs_without_a_hump_of_their_own_are_doubted() -> None:
    """20 % wrong, twice the standard deviation apart: the losses have one hump. The truth by Bayes' rule from
    the two normal densities is the golden value; the ratio that was fitted follows it."""
    chance = np.random.default_rng(3)
    losses = np.concatenate([chance.normal(0, 1, 16000), chance.normal(2, 1, 4000)])
    trust = monotone(losses, chance.normal(2, 1, 20000))
    right, wrong = (np.exp(-((losses - mean) ** 2) / 2) for mean in (0, 2))
    expected = 0.8 * right / (0.8 * right + 0.2 * wrong)
    assert np.abs(trust - expected).mean() < 0.05
    assert np.corrcoef(trust, expected)[0, 1] > 0.98


def test_the_share_of_wrong_pairs_is_a_bound_that_is_reached() -> None:
    chance = np.random.default_rng(5)
    for share in (0.0, 0.2, 0.6):
        wrong = chance.normal(3, 1, 20000)
        losses = np.concatenate(
            [chance.normal(0, 1, round(20000 * (1 - share))), chance.normal(3, 1, round(20000 * share))]
        )
        assert abs(share_of_wrong(losses, wrong) - share) < 0.02


def brute_isotonic(losses: Array, wrong: Array) -> Array:
    """The ratio by isotonic regression's max-min formula (Robertson et al. 1988, Th. 1.4.4) on the share of
    wrong pairs among all of one value."""
    values = np.unique(np.concatenate([losses, wrong]))
    asked = np.array([(losses == v).sum() for v in values])
    certain = np.array([(wrong == v).sum() for v in values])
    out = []
    for loss in losses:
        k = int(np.flatnonzero(values == loss)[0])
        fitted = max(
            min(
                certain[i : j + 1].sum() / (asked[i : j + 1].sum() + certain[i : j + 1].sum())
                for j in range(k, len(values))
            )
            for i in range(k + 1)
        )
        odds = np.inf if fitted == 1 else fitted / (1 - fitted)
        out.append(odds * len(losses) / len(wrong))
    return np.array(out)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=15), st.lists(st.integers(0, 8), min_size=1, max_size=15)
)
def test_the_ratio_is_isotonic_regression(losses: list[int], wrong: list[int]) -> None:
    given = np.array(losses, float), np.array(wrong, float)
    np.testing.assert_allclose(density_ratio(*given), brute_isotonic(*given), rtol=1e-9)


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 10, allow_nan=False)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 20, allow_nan=False)),
    st.integers(0, 300),
)
def test_a_smaller_loss_is_never_judged_noisier(losses: Array, wrong: Array, more: int) -> None:
    """Arbitrary losses, alone and with a group of certain and of wrong pairs beside them."""
    chance = np.random.default_rng(more)
    hump = chance.normal(12, 1, more)
    low = chance.normal(1, 1, more)
    for values, certain in ((losses, wrong), (np.concatenate([losses, low, hump]), np.append(hump, wrong))):
        order = np.argsort(values, kind="stable")
        clean = clean_probability(values, certain)
        if clean is not None:
            assert np.all((clean >= 0) & (clean <= 1)) and np.all(np.diff(clean[order]) <= 1e-12)
            assert np.all(np.diff(clean[order])[np.diff(values[order]) == 0] == 0)
        assert np.all(np.diff(monotone(values, certain)[order]) <= 0)


def test_the_published_posterior_is_not_monotone() -> None:
    """A narrow low component and a broad high one: the smallest losses belong to the broad one."""
    chance = np.random.default_rng(0)
    losses = np.concatenate([chance.normal(0.5, 0.01, 2000), chance.normal(0.6, 0.2, 1000)])
    clean = published_probability(losses, thorough=True)
    assert clean[losses.argmin()] < 0.01 < 0.9 < clean[np.abs(losses - 0.5).argmin()]
    ours = monotone(losses, chance.normal(0.9, 0.1, 3000))
    assert ours[losses.argmin()] == ours.max() == 1


def em(x: Array, low: NDArray[np.bool_], steps: int, tolerance: float, floor: float) -> Array:
    """Expectation maximisation for two normal distributions from its textbook formulas (Bishop, 9.2.2): the
    posterior of the component with the lower mean."""
    part = np.stack([low, ~low]).astype(float)
    before = -np.inf

    def m_step() -> tuple[Array, Array, Array]:
        mass = part.sum(1)
        mean = (part * x).sum(1) / mass
        return mass / len(x), mean, (part * (x - mean[:, None]) ** 2).sum(1) / mass + floor

    def density(share: Array, mean: Array, variance: Array) -> Array:
        top = np.exp(-((x - mean[:, None]) ** 2) / (2 * variance[:, None]))
        return share[:, None] * top / np.sqrt(2 * np.pi * variance[:, None])

    for _ in range(steps):
        joint = density(*m_step())
        part, now = joint / joint.sum(0), np.log(joint.sum(0)).mean()
        if abs(now - before) < tolerance:
            break
        before = now
    parameters = m_step()
    joint = density(*parameters)
    return (joint / joint.sum(0))[parameters[1].argmin()]


@pytest.mark.parametrize(("thorough", "settings_"), [(True, (100, 1e-4, 1e-6)), (False, (10, 1e-2, 5e-4))])
def test_the_published_mixture_is_expectation_maximisation(
    thorough: bool, settings_: tuple[int, float, float]
) -> None:
    chance = np.random.default_rng(4)
    losses = np.concatenate([chance.gamma(2, 0.1, 700), chance.normal(0.9, 0.15, 300)])
    x = (losses - losses.min()) / (losses.max() - losses.min())
    cuts = np.sort(x)[:-1]
    within = [x[x <= cut].var() * (x <= cut).sum() + x[x > cut].var() * (x > cut).sum() for cut in cuts]
    expected = em(x, x <= cuts[int(np.argmin(within))], *settings_)
    np.testing.assert_allclose(published_probability(losses, thorough), expected, rtol=1e-6, atol=1e-9)


def test_views_that_disagree() -> None:
    chance = np.random.default_rng(1)
    low, high = chance.normal(0.2, 0.05, 3000), chance.normal(0.9, 0.05, 1500)
    one = np.concatenate([low, high])
    other = np.concatenate([low[:2000], high[:1000], low[2000:], high[1000:]])
    losses, wrong = np.stack([one, other], axis=1), chance.normal(0.9, 0.05, (4500, 2))
    agreed = (one < 0.5) == (other < 0.5)
    ours = judge(losses, wrong, "monotone", seed=(0, 0)).trust
    assert abs(ours[~agreed].mean() - 0.5) < 0.05
    assert np.abs(ours[agreed] - (one < 0.5)[agreed]).mean() < 0.05
    coins = [judge(losses, wrong, "published", seed=(7, epoch)).trust for epoch in (0, 0, 1)]
    assert np.array_equal(coins[0], coins[1]) and not np.array_equal(coins[0], coins[2])
    assert set(np.unique(coins[0][~agreed])) == {0.0, 1.0}
    assert abs(coins[0][~agreed].mean() - 0.5) < 5 * 0.5 / np.sqrt((~agreed).sum())
    assert np.all(coins[0][agreed] == (one < 0.5)[agreed])


def test_a_view_that_tells_nothing_has_no_vote() -> None:
    chance = np.random.default_rng(6)
    telling = np.concatenate([chance.normal(0.2, 0.05, 600), chance.normal(0.9, 0.05, 400)])
    losses = np.stack([telling, chance.normal(0.5, 0.1, 1000)], axis=1)
    wrong = np.stack([chance.normal(0.9, 0.05, 1000), chance.normal(0.5, 0.1, 1000)], axis=1)
    verdict = judge(losses, wrong, "monotone", seed=(0, 0))
    assert np.array_equal(verdict.trust, verdict.clean[:, 0]) and np.all(verdict.clean[:, 1] == 1)
    assert verdict.trust[600:].mean() < 0.1
    votes = [
        clean_probability(chance.normal(size=size), chance.normal(size=size)) is not None
        for size in (10, 30, 100, 1000)
        for _ in range(50)
    ]
    assert sum(votes) <= 2


def test_a_loss_that_is_not_a_number_is_the_dearest() -> None:
    chance = np.random.default_rng(2)
    losses = np.concatenate([chance.normal(0.2, 0.05, 500), chance.normal(0.9, 0.05, 300)])
    wrong = chance.normal(0.9, 0.05, 800)
    losses[3], losses[4], wrong[:5] = np.nan, np.inf, np.nan
    trust = monotone(losses, wrong)
    assert trust[3] == trust[4] == trust.min() and trust[:3].min() > 0.9
    nothing = np.full((5, 2), np.nan)
    for rule in ("monotone", "published", "published-loose"):
        assert np.isfinite(judge(nothing, nothing, rule, seed=(0, 0)).trust).all()


def test_nothing_to_split() -> None:
    assert fit_mixture(np.full(4, 0.3), 10, 1e-3, 1e-6) is None
    assert fit_mixture(np.array([0.3]), 10, 1e-3, 1e-6) is None
