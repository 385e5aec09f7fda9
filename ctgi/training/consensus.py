"""Confident consensus division (CCD): which training pairs are rightly matched, by two views of their losses.

Each view's losses over the training set are described by a mixture of two normal distributions: right pairs
learn early and cost little, wrong ones stay dear. Two ways of drawing conclusions are offered.

"published" and "published-loose" are RDE's (Sec. 3.4 of its paper, with the constants and the rules of its
code), for comparison. On losses with one hump it calls about half of a clean set wrong; a broad second
component reaches below the first, so that the smallest losses of all can be called wrong; where nothing is
wrong it declares a hundredth wrong, or far more when losses are equal; where the views disagree it tosses a
coin.

"monotone" differs in four ways. Two populations are believed in only if the losses themselves show two humps
with a valley between them; else every pair is clean. The two distributions are those of the losses on either
side of the valley: right pairs often pile up at 0, and the likeliest mixture then is that pile against
everything else. The posterior is read at the loss clamped between the two means, where it falls strictly: a
smaller loss is never judged noisier. Where the views disagree the pair counts half, the coin's expectation.
No random number is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

VALLEY = 0.8
"""A valley's height, at most, as a share of the lower hump beside it."""
SIGNIFICANCE = 4.0
"""How many standard errors the lower hump must rise above the valley."""


@dataclass(frozen=True)
class Mixture:
    """Two normal distributions, the one with the lower mean first: shares, means, variances, (2,) each."""

    share: Losses
    mean: Losses
    variance: Losses


@dataclass(frozen=True)
class Verdict:
    """trust float32 (N,): how much each pair counts, 0 to 1. clean float32 (N, S): each view's probability
    that the pair is rightly matched."""

    trust: NDArray[np.float32]
    clean: NDArray[np.float32]


def judge(losses: Losses, rule: str, seed: tuple[int, int]) -> Verdict:
    """Judge N pairs by their losses under S views, float64 (N, S).

    `rule`: "monotone", "published" or "published-loose". `seed`: (the run's seed, the epoch), for the
    published coin. A loss that is not a number is judged as the dearest.
    """
    clean = np.stack([_one_view(view, rule) for view in losses.T], axis=1)
    if rule == "monotone":
        trust = (clean > 0.5).mean(axis=1)
    else:
        votes = np.stack([_voted(view) for view in clean.T], axis=1).mean(axis=1)
        coin = np.random.default_rng([*seed, 2]).integers(0, 2, len(votes))
        trust = np.where((votes > 0) & (votes < 1), coin, votes)
    return Verdict(trust.astype(np.float32), clean.astype(np.float32))


def clean_probability(losses: Losses) -> Losses:
    """Probability of being rightly matched, (N,), never rising with the loss; all ones without two humps."""
    x = scaled(losses)
    valley = find_valley(x)
    if valley is None:
        return np.ones(len(x))
    low = (x <= valley).astype(np.float64)
    mixture = _maximised(x, np.stack([low, 1 - low], axis=1), floor=1e-6)
    return posterior(mixture, x.clip(*mixture.mean))


def find_valley(x: Losses) -> float | None:
    """Where scaled losses (N,) have a valley between two humps; None where they have not.

    Two normal distributions fit any skewed or flat distribution better than one, so a better fit says
    nothing. Losses are counted in overlapping windows, a quarter as wide as the best split in two is apart.
    A valley holds at most 0.8 of the lower hump beside it, and 4 standard errors less. It lies between the
    means of that split: margin losses are exactly 0 for many a pair, and what stands beside such a pile is no
    valley between two populations. Of several the most significant is taken.
    """
    if len(x) < 2 or x.max() == 0:
        return None
    x = np.sort(x)
    low = x <= _best_split(x)
    first, second = x[low].mean(), x[~low].mean()
    reach = (second - first) / 8
    centres = np.arange(reach, 1 - reach / 2, reach / 4)
    counts = np.searchsorted(x, centres + reach, "right") - np.searchsorted(x, centres - reach, "left")
    left, right = np.maximum.accumulate(counts), np.maximum.accumulate(counts[::-1])[::-1]
    hump = np.minimum(left, right)
    depth = (hump - counts) / np.sqrt(np.maximum(hump + counts, 1))
    depth[(counts >= VALLEY * hump) | (centres <= first) | (centres >= second)] = 0.0
    if depth.max() <= SIGNIFICANCE:
        return None
    return float(np.median(centres[depth == depth.max()]))  # the middle of an empty stretch


def published_probability(losses: Losses, thorough: bool) -> Losses:
    """The lower component's posterior as RDE computes it, (N,).

    RDE fits thoroughly (100 steps, tolerance 1e-4, variance floor 1e-6) when it is told of more than 40 %
    noise and for RSTPReid, else loosely (10 steps, 1e-2, 5e-4). The start is the best split in two, where
    RDE's is an unseeded k-means.
    """
    steps, tolerance, floor = (100, 1e-4, 1e-6) if thorough else (10, 1e-2, 5e-4)
    mixture = fit_mixture(losses, steps, tolerance, floor)
    return np.ones(len(losses)) if mixture is None else posterior(mixture, scaled(losses))


def scaled(losses: Losses) -> Losses:
    """Losses moved and stretched to reach from 0 to 1; zeros where all are equal."""
    low, high = losses.min(), losses.max()
    return (losses - low) / (high - low) if high > low else np.zeros_like(losses)


def fit_mixture(losses: Losses, steps: int, tolerance: float, floor: float) -> Mixture | None:
    """Expectation maximisation on losses (N,) scaled to [0, 1], from the best split in two.

    Ends after `steps` or when the mean log-likelihood changes by less than `tolerance`; `floor` is added to
    the variances. None where there is nothing to split: fewer than two different losses.
    """
    x = scaled(losses)
    if len(x) < 2 or x.max() == 0:
        return None
    low = (x <= _best_split(x)).astype(np.float64)
    part = np.stack([low, 1 - low], axis=1)
    before = -np.inf
    for _ in range(steps):
        mixture = _maximised(x, part, floor)
        part, likelihood = _expected(x, mixture)
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
    mixture = _maximised(x, part, floor)
    order = np.argsort(mixture.mean, kind="stable")
    return Mixture(mixture.share[order], mixture.mean[order], mixture.variance[order])


def posterior(mixture: Mixture, x: Losses) -> Losses:
    """Probability of the lower component at scaled losses x, (N,)."""
    return _expected(x, mixture)[0][:, 0]


def _one_view(losses: Losses, rule: str) -> Losses:
    known = np.isfinite(losses)
    if not known.any():
        return np.ones(len(losses))
    losses = np.where(known, losses, losses[known].max())
    if rule == "monotone":
        return clean_probability(losses)
    return published_probability(losses, thorough=rule == "published")


def _voted(clean: Losses) -> Losses:
    """RDE's threshold: a half; or, where all are above it, whatever leaves a hundredth at or below."""
    threshold = 0.5 if clean.min() <= 0.5 else np.sort(clean)[len(clean) // 100]
    return (clean > threshold).astype(np.float64)


def _best_split(x: Losses) -> float:
    """The largest value of the lower group when x is split in two with the least variance within."""
    values = np.sort(x)
    below = np.arange(1, len(values))
    sums = values.cumsum()
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(values) - below)
    between = below * (len(values) - below) * (high - low) ** 2
    between[values[:-1] == values[1:]] = -1.0  # equal losses stay together
    return float(values[int(between.argmax())])


def _maximised(x: Losses, part: Losses, floor: float) -> Mixture:
    mass = part.sum(axis=0) + 10 * np.finfo(np.float64).eps
    mean = part.T @ x / mass
    variance = (part * (x[:, None] - mean) ** 2).sum(axis=0) / mass + floor
    return Mixture(mass / mass.sum(), mean, variance)


def _expected(x: Losses, mixture: Mixture) -> tuple[Losses, float]:
    """Each component's part in each loss, (N, 2), and the mean log-likelihood."""
    distance = (x[:, None] - mixture.mean) ** 2 / mixture.variance
    joint = np.log(mixture.share) - 0.5 * (np.log(2 * np.pi * mixture.variance) + distance)
    total = np.logaddexp(joint[:, 0], joint[:, 1])
    return np.exp(joint - total[:, None]), float(total.mean())
