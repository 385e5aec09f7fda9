"""Confident consensus division (CCD): which training pairs are rightly matched, by two views of their losses.

Each view's losses over the training set are a mixture of two populations: right pairs learn early and cost
little, wrong ones stay dear. Two ways of telling them apart are offered.

"published" and "published-loose" are RDE's (Sec. 3.4 of its paper, with the constants and the rules of its
code), for comparison: a mixture of two normal distributions. On losses with one hump it calls about half of a
clean set wrong; a broad second component reaches below the first, so that the smallest losses of all can be
called wrong; where nothing is wrong it declares a hundredth wrong, or far more when losses are equal; where
the views disagree it tosses a coin.

"monotone" does not guess what wrong pairs cost: it measures it, on pictures given a stranger's caption, and
assumes no shape. Of the pairs in question no more can be wrong than have losses as high as wrong pairs have,
so a clean set stays whole. The ratio of the two densities is fitted as a rising function of the loss: a
smaller loss is never judged noisier. A view in which wrong pairs hardly cost more than right ones has no vote
(token selection before it has learnt anything). A pair's trust is the mean probability over the views that
have one. No random number is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

TELLING = 0.8
"""A view has a vote if it would put a wrong pair above a right one at least so often."""
MOST_WRONG = 0.9
"""Beyond this share of wrong pairs nothing is concluded: so it looks when a view tells nothing."""


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


def judge(losses: Losses, wrong: Losses, rule: str, seed: tuple[int, int]) -> Verdict:
    """Judge N pairs by their losses under S views, float64 (N, S).

    `wrong`, (M, S): what pairs cost that are wrong for certain; only "monotone" asks for it. `rule`:
    "monotone", "published" or "published-loose". `seed`: (the run's seed, the epoch), for the published coin.
    A loss that is not a number is judged as the dearest.
    """
    losses = np.stack([_known(view) for view in losses.T], axis=1)
    if rule == "monotone":
        views = [clean_probability(*both) for both in zip(losses.T, wrong.T, strict=True)]
        clean = np.stack([np.ones(len(losses)) if view is None else view for view in views], axis=1)
        votes = [view for view in views if view is not None]
        trust = np.mean(votes, axis=0) if votes else np.ones(len(losses))
    else:
        thorough = rule == "published"
        clean = np.stack([published_probability(view, thorough) for view in losses.T], axis=1)
        agreed = np.stack([_voted(view) for view in clean.T], axis=1).mean(axis=1)
        coin = np.random.default_rng([*seed, 2]).integers(0, 2, len(agreed))
        trust = np.where((agreed > 0) & (agreed < 1), coin, agreed)
    return Verdict(trust.astype(np.float32), clean.astype(np.float32))


def clean_probability(losses: Losses, wrong: Losses) -> Losses | None:
    """Probability of being rightly matched, (N,), never rising with the loss; None without a vote.

    losses (N,) of the pairs in question, wrong (M,) of pairs that are wrong for certain. With f the density
    of the first and g that of the second, a pair of loss l is wrong with probability share * g(l) / f(l): the
    two groups of Efron et al. (JASA 2001), with the group of no interest, the wrong, measured.
    """
    wrong = wrong[np.isfinite(wrong)]
    if len(wrong) == 0:
        return None
    share = share_of_wrong(losses, wrong)
    # How often a wrong pair lies above one in question, beyond a half; those that are wrong too add nothing.
    ordered = np.sort(losses)
    below = np.searchsorted(ordered, wrong, "left") + np.searchsorted(ordered, wrong, "right")
    excess = below.mean() / (2 * len(losses)) - 0.5
    noise = np.sqrt((1 / len(losses) + 1 / len(wrong)) / 12)
    if share > MOST_WRONG or excess < 3 * noise or excess / (1 - share) < TELLING - 0.5:
        return None
    return 1 - np.minimum(1, share * density_ratio(losses, wrong))


def share_of_wrong(losses: Losses, wrong: Losses) -> float:
    """The most that can be wrong of the pairs in question: how many of them lie above a threshold over how
    many of the wrong pairs do (Storey, JRSS B 2002).

    Right pairs above it make that too much, the less the higher the threshold; but above high thresholds few
    pairs are left, and chance is large. Of quantiles of the wrong pairs up to three quarters the lowest is
    taken whose ratio is within what every other one allows, that one's ratio plus its standard error: as many
    pairs as can be counted before right ones come in (Lepski's rule, 1990).
    """
    thresholds = np.quantile(wrong, np.linspace(0, 0.75, 16))
    ordered, certain = np.sort(losses), np.sort(wrong)
    above = len(losses) - np.searchsorted(ordered, thresholds, "left")
    of_wrong = len(wrong) - np.searchsorted(certain, thresholds, "left")
    ratio = (above / len(losses)) / (of_wrong / len(wrong))
    error = ratio * np.sqrt(1 / np.maximum(above, 1) + 1 / of_wrong)
    within = ratio <= (ratio + error).min()
    return float(min(1.0, ratio[within.argmax()]))


def density_ratio(losses: Losses, wrong: Losses) -> Losses:
    """The density of `wrong` over that of `losses` at each of `losses`, (N,), fitted as never falling.

    Isotonic regression by pooling adjacent violators: the most likely rising ratio, without a bandwidth.
    """
    values, inverse = np.unique(np.concatenate([losses, wrong]), return_inverse=True)
    asked = np.bincount(inverse[: len(losses)], minlength=len(values))
    certain = np.bincount(inverse[len(losses) :], minlength=len(values))
    pools: list[tuple[int, int, int]] = []  # of losses, of wrong, and of different values
    for a, c in zip(asked.tolist(), certain.tolist(), strict=True):
        pool = (a, c, 1)
        while pools and pools[-1][1] * pool[0] >= pool[1] * pools[-1][0]:
            a_before, c_before, width = pools.pop()
            pool = (a_before + pool[0], c_before + pool[1], width + pool[2])
        pools.append(pool)
    counts = np.array(pools, dtype=np.float64)
    with np.errstate(divide="ignore"):
        ratio = (counts[:, 1] / len(wrong)) / (counts[:, 0] / len(losses))
    at_value: Losses = ratio.repeat(counts[:, 2].astype(np.int64))
    return at_value[inverse[: len(losses)]]


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


def _known(losses: Losses) -> Losses:
    known = np.isfinite(losses)
    return np.where(known, losses, losses[known].max() if known.any() else 0.0)


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
