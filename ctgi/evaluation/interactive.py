"""Interactive retrieval, measured round by round: Hits@10, Recall@10 and BRI.

In goes the place of the right picture in every round: `ranks` int (T + 1, Q), from 1; row 0 is the search as
asked, row t the one after t rounds of interaction. A person has several pictures, so several are right: the
place of the best-ranked one counts (`Evaluation.first_rank` is just that).

    b_q(t) = min over s <= t of r_q(s)                              the best place up to round t
    Hits@10(t)   = share of queries with b_q(t) <= 10               never falls
    Recall@10(t) = share of queries with r_q(t) <= 10               may fall
    BRI = mean over q of 1/T sum over t < T of (ln b_q(t) + ln b_q(t + 1)) / 2

BRI (best log rank integral) is the area under ln b by the trapezoidal rule: lower is better, 0 means that the
right picture came first from the start.

Source: Lee et al., Interactive Text-to-Image Retrieval with Large Language Models: A Plug-and-Play Approach
(ACL 2024, arXiv:2406.03411) and its code (github.com/Saehyung-Lee/PlugIR), where ranks count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctgi.errors import CtgiError
from ctgi.evaluation.bootstrap import Interval, mean_intervals
from ctgi.evaluation.metrics import Evaluation

WITHIN = 10


@dataclass(frozen=True)
class Interactive:
    """T rounds, Q queries.

    Attributes:
        hits: float64 (T + 1,), Hits@10 in percent after each round.
        recall: float64 (T + 1,), Recall@10 in percent after each round.
        bri: mean over the queries; 0 is best.
    """

    hits: NDArray[np.float64]
    recall: NDArray[np.float64]
    bri: float


@dataclass(frozen=True)
class InteractiveIntervals:
    """The same with confidence intervals; one of `hits` and `recall` a round."""

    hits: tuple[Interval, ...]
    recall: tuple[Interval, ...]
    bri: Interval


def interactive_metrics(ranks: ArrayLike, *, within: int = WITHIN) -> Interactive:
    """Hits@`within`, Recall@`within` and BRI of `ranks` int (T + 1, Q), places from 1.

    Raises:
        CtgiError: `ranks` has no second round, no query, or a place that is not a whole number from 1.
    """
    places = _checked(ranks)
    best = np.minimum.accumulate(places, axis=0)
    return Interactive(
        hits=100.0 * (best <= within).mean(axis=1),
        recall=100.0 * (places <= within).mean(axis=1),
        bri=float(bri_per_query(places).mean()),
    )


def bri_per_query(ranks: ArrayLike) -> NDArray[np.float64]:
    """float64 (Q,): each query's BRI. Raises CtgiError as `interactive_metrics`."""
    logs = np.log(np.minimum.accumulate(_checked(ranks), axis=0))
    area: NDArray[np.float64] = ((logs[:-1] + logs[1:]) / 2).mean(axis=0)
    return area


def interactive_intervals(
    ranks: ArrayLike,
    identities: ArrayLike,
    *,
    within: int = WITHIN,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> InteractiveIntervals:
    """The metrics with bootstrap intervals; queries about the same person (`identities` (Q,)) are drawn
    together.

    Raises:
        CtgiError: as `interactive_metrics`, or not one identity a query.
    """
    places = _checked(ranks)
    if np.shape(identities) != (places.shape[1],):
        raise CtgiError(f"{np.size(identities)} identities for {places.shape[1]} queries; give one for each")
    best = np.minimum.accumulate(places, axis=0)
    values = np.concatenate(
        [100.0 * (best <= within), 100.0 * (places <= within), bri_per_query(places)[None]]
    )
    found = mean_intervals(values.T, identities, level=level, resamples=resamples, seed=seed)
    rounds = len(places)
    return InteractiveIntervals(tuple(found[:rounds]), tuple(found[rounds:-1]), found[-1])


def ranks_by_round(rounds: Sequence[Evaluation]) -> NDArray[np.int64]:
    """int64 (T + 1, Q): the place of the best-ranked right picture, from the evaluation of each round.

    Raises:
        CtgiError: the rounds did not answer the same queries.
    """
    if any(not np.array_equal(later.queries, rounds[0].queries) for later in rounds[1:]):
        raise CtgiError("the rounds answered different queries; evaluate all of them on one list of queries")
    return np.stack([evaluation.first_rank for evaluation in rounds])


def _checked(ranks: ArrayLike) -> NDArray[np.int64]:
    places = np.asarray(ranks)
    if places.ndim != 2 or len(places) < 2 or places.shape[1] == 0:
        raise CtgiError(
            f"ranks of shape {places.shape}: (rounds + 1, queries) is needed, "
            "with at least one round after the first search and one query"
        )
    if not np.issubdtype(places.dtype, np.integer) or places.min() < 1:
        raise CtgiError("ranks must be whole numbers from 1, the place of the best-ranked right picture")
    return places.astype(np.int64)
