from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctgi.training.consensus import clean_probability, fit_mixture, judge, published_probability

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]


def twice(losses: Array) -> Array:
    return np.stack([losses, losses], axis=1)


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
    "heavy-tailed": lambda c, n: c.lognormal(0, 0.7, n),
    "hinges, mostly met": hinge,
    "hinges, half met": lambda c, n: hinge(c, n, 0.0),
    "hinges, hardly met": lambda c, n: hinge(c, n, 0.05),
    "all equal": lambda c, n: np.full(n, 0.2),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("size", [1, 2, 30, 300, 5000])
def test_a_clean_set_is_kept(name: str, size: int) -> None:
    losses = CLEAN[name](np.random.default_rng(size), size)
    verdict = judge(twice(losses), "monotone", seed=(0, 0))
    assert verdict.trust.dtype == np.float32 and np.all(verdict.trust == 1)


def test_the_published_rule_throws_half_of_it_away() -> None:
    """What is repaired: 39 to 58 % of a unimodal set judged noisy, and all of a set of equal losses."""
    normal = CLEAN["normal"](np.random.default_rng(0), 3000)
    assert 0.3 < judge(twice(normal), "published", seed=(0, 0)).trust.mean() < 0.7
    assert judge(twice(np.full(300, 0.2)), "published", seed=(0, 0)).trust.mean() == 0


@pytest.mark.parametrize(("right", "wrong"), [(4000, 1000), (2500, 2500), (1000, 4000)])
@pytest.mark.parametrize("hinged", [False, True])
def test_wrong_pairs_are_found(right: int, wrong: int, hinged: bool) -> None:
    chance = np.random.default_rng(right)
    low = hinge(chance, right) if hinged else chance.normal(0.2, 0.07, right)
    losses = np.concatenate([low, chance.normal(0.8, 0.1, wrong)])
    trust = judge(twice(losses), "monotone", seed=(0, 0)).trust
    assert trust[:right].mean() > 0.99 and trust[right:].mean() < 0.01


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 10, allow_nan=False)),
    st.floats(0.01, 5),
    st.integers(0, 300),
)
def test_a_smaller_loss_is_never_judged_noisier(losses: Array, shift: float, more: int) -> None:
    """Arbitrary losses, and the same with a second hump of another width beside them."""
    hump = np.random.default_rng(more).normal(10 + shift, shift / 5, more)
    for values in (losses, np.concatenate([losses, hump])):
        order = np.argsort(values, kind="stable")
        clean = clean_probability(values)
        assert np.all((clean >= 0) & (clean <= 1)) and np.all(np.diff(clean[order]) <= 1e-12)
        trust = judge(twice(values), "monotone", seed=(0, 0)).trust
        assert np.all(np.diff(trust[order]) <= 0)


def test_the_published_posterior_is_not_monotone() -> None:
    """A narrow low component and a broad high one: the smallest losses belong to the broad one."""
    chance = np.random.default_rng(0)
    losses = np.concatenate([chance.normal(0.5, 0.01, 2000), chance.normal(0.6, 0.2, 1000)])
    clean = published_probability(losses, thorough=True)
    assert clean[losses.argmin()] < 0.01 < 0.9 < clean[np.abs(losses - 0.5).argmin()]
    ours = clean_probability(losses)
    assert ours[losses.argmin()] == ours.max()


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
    losses = np.stack([one, other], axis=1)
    agreed = (one < 0.5) == (other < 0.5)
    ours = judge(losses, "monotone", seed=(0, 0)).trust
    assert np.all(ours[~agreed] == 0.5) and np.all(ours[agreed] == (one < 0.5)[agreed])
    coins = [judge(losses, "published", seed=(7, epoch)).trust for epoch in (0, 0, 1)]
    assert np.array_equal(coins[0], coins[1]) and not np.array_equal(coins[0], coins[2])
    assert set(np.unique(coins[0][~agreed])) == {0.0, 1.0}
    assert abs(coins[0][~agreed].mean() - 0.5) < 5 * 0.5 / np.sqrt((~agreed).sum())
    assert np.all(coins[0][agreed] == (one < 0.5)[agreed])


def test_a_loss_that_is_not_a_number_is_the_dearest() -> None:
    chance = np.random.default_rng(2)
    losses = np.concatenate([chance.normal(0.2, 0.05, 500), chance.normal(0.9, 0.05, 300)])
    losses[3], losses[4] = np.nan, np.inf
    trust = judge(twice(losses), "monotone", seed=(0, 0)).trust
    assert trust[3] == trust[4] == 0 and trust[:3].all()
    assert np.all(judge(np.full((5, 2), np.nan), "monotone", seed=(0, 0)).trust == 1)


def test_nothing_to_split() -> None:
    assert fit_mixture(np.full(4, 0.3), 10, 1e-3, 1e-6) is None
    assert fit_mixture(np.array([0.3]), 10, 1e-3, 1e-6) is None
