"""How sure a figure is: bootstrap confidence intervals, and whether one ranking is better than another.

Queries about the same person are not independent: they hit or miss the same pictures. So whole identities
are drawn with replacement, by default, and a query comes with its identity. Percentile intervals.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13; cluster resampling as in
Davison and Hinkley, Bootstrap Methods and their Application (1997), sec. 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import METRICS, Evaluation

Unit = Literal["identity", "query"]


@dataclass(frozen=True)
class Interval:
    """A figure in percent with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much better the second of two rankings of the same queries is, in points.

    Attributes:
        worse: share of resamples in which it is not better; small values speak for an improvement.
    """

    value: float
    low: float
    high: float
    worse: float


def confidence_intervals(
    result: Evaluation, *, by: Unit = "identity", level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """An interval for each of R@1, R@5, R@10, mAP and mINP.

    Raises:
        CtgiError: `level` outside 0..1, or no resamples.
    """
    found = mean_intervals(
        result.per_query(), _groups(result, by), level=level, resamples=resamples, seed=seed
    )
    return dict(zip(METRICS, found, strict=True))


def mean_intervals(
    values: NDArray[np.float64],
    groups: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """An interval for the mean of each column of `values` (N, M), drawing whole `groups` (N,).

    Raises:
        CtgiError: `level` outside 0..1, or no resamples.
    """
    number = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    low, high = _bounds(_means(values, number, resamples, seed), level)
    means = values.mean(axis=0)
    return [Interval(float(means[n]), float(low[n]), float(high[n])) for n in range(values.shape[1])]


def paired_difference(
    before: Evaluation,
    after: Evaluation,
    *,
    by: Unit = "identity",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Difference]:
    """What `after` adds to `before`, on the same queries; both see the same resamples.

    Raises:
        CtgiError: the two did not answer the same queries.
    """
    if not (
        np.array_equal(before.queries, after.queries) and np.array_equal(before.identities, after.identities)
    ):
        raise CtgiError(
            "the two evaluations answered different queries; evaluate both on one list of queries"
        )
    values = after.per_query() - before.per_query()
    draws = _means(values, _groups(after, by), resamples, seed)
    low, high = _bounds(draws, level)
    means, worse = values.mean(axis=0), (draws <= 0).mean(axis=0)
    return {
        name: Difference(float(means[n]), float(low[n]), float(high[n]), float(worse[n]))
        for n, name in enumerate(METRICS)
    }


def _groups(result: Evaluation, by: Unit) -> NDArray[np.int64]:
    if by == "query":
        return np.arange(len(result.queries))
    if by == "identity":
        return np.unique(result.identities, return_inverse=True)[1].astype(np.int64)
    raise CtgiError(f"bootstrap by {by!r}: choose identity or query")


def _means(
    values: NDArray[np.float64], groups: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """float64 (resamples, metrics): the mean over queries of each resample of groups."""
    if resamples < 1:
        raise CtgiError(f"{resamples} resamples: at least one is needed")
    count = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, weights=column, minlength=count) for column in values.T], axis=1)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    rng = np.random.default_rng(seed)
    out: list[NDArray[Any]] = []
    step = max(1, 2**22 // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        times = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        out.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(out)


def _bounds(draws: NDArray[np.float64], level: float) -> Sequence[NDArray[np.float64]]:
    if not 0 < level < 1:
        raise CtgiError(f"confidence level {level}: choose one between 0 and 1, such as 0.95")
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high
