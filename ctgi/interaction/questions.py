"""The question worth asking: the one whose answer is expected to say most about who is meant.

The candidates have a posterior π (softmax of similarity and log-likelihood). Were candidate i the person, a
question about a facet would be answered with value v with the probability that i's dossier gives it; what a
picture does not show is expected as it is common in the gallery. So the answer A and the person I have a
joint distribution, and a question is worth their mutual information

    I(I; A) = H(Σ_i π_i p(a | i)) - Σ_i π_i H(p(a | i))    (nats),

the expected drop of the posterior's entropy (Lindley 1956, On a measure of the information provided by an
experiment). "Cannot tell" is an answer that excludes nobody: it is given with one probability whoever is
meant, so a facet that few pictures show is worth little. What the dossiers leave open between values (they
are calibrated) is the noise of the answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ctgi.interaction.dossier import Dossiers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """A facet (its place in the dossiers' list) and what asking about it is expected to bring, in nats."""

    facet: int
    gain: float


def posterior(log_weights: NDArray[np.floating]) -> Floats:
    """Softmax of (N,) log-weights, such as similarity / temperature + log-likelihood; float64, sums to 1."""
    logs = np.asarray(log_weights, np.float64)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def expected_answers(table: NDArray[np.floating], prior: Floats, weights: Floats, doubt: float) -> Floats:
    """p(a | i), float64 (N, V): each candidate's answers about one facet; the last is "cannot tell".

    Args:
        table: (N, V) the dossiers' probabilities, "cannot tell" last.
        prior: (V - 1,) how common each value is.
        weights: (N,) the posterior; it says how often "cannot tell" is to be expected.
        doubt: share of answers that are wrong, and tell nothing (the doubt of `soft`).
    """
    table = np.asarray(table, np.float64)
    hidden = table[:, -1:]
    told = (1.0 - doubt) * (table[:, :-1] + hidden * prior) + doubt * prior
    unable = float(weights @ hidden[:, 0])
    return np.concatenate([(1.0 - unable) * told, np.full((len(table), 1), unable)], axis=1)


def information(weights: Floats, answers: Floats) -> float:
    """I(I; A) in nats, of the posterior (N,) and p(a | i) (N, A); never below 0."""
    return max(0.0, float(entropy(weights @ answers) - weights @ entropy(answers)))


def entropy(distribution: Floats) -> Floats:
    """Of the last axis, in nats; 0 log 0 is 0."""
    logs = np.log(distribution, out=np.zeros_like(distribution), where=distribution > 0)
    return np.asarray(-(distribution * logs).sum(axis=-1))


def worth_asking(
    dossiers: Dossiers, weights: Floats, doubt: float, known: Collection[int] = ()
) -> list[Worth]:
    """Every facet not `known` with its expected information, the most telling first.

    `weights` (N,) is the posterior over the dossiers' pictures. Candidates that together hold less than a
    millionth of it are left aside: they change no gain that is worth mentioning.
    """
    kept, near = _near(weights)
    worths = []
    for facet, (table, prior) in enumerate(zip(dossiers.probability, dossiers.prior, strict=True)):
        if facet not in known:
            answers = expected_answers(table[kept], prior, near, doubt)
            worths.append(Worth(facet, information(near, answers)))
    return sorted(worths, key=lambda worth: (-worth.gain, worth.facet))


def topics_worth_asking(
    dossiers: Dossiers, weights: Floats, doubt: float, known: Collection[int] = ()
) -> Mapping[str, float]:
    """Topic -> expected information (nats) of the one answer that tells all its facets but the `known`.

    Given who is meant, a topic's facets are taken to be answered independently.
    """
    kept, near = _near(weights)
    answers: dict[str, list[Floats]] = {}
    for facet, (table, prior) in enumerate(zip(dossiers.probability, dossiers.prior, strict=True)):
        mine = answers.setdefault(dossiers.facets[facet].topic, [])
        if facet not in known:
            mine.append(expected_answers(table[kept], prior, near, doubt))
    return {topic: _information_of_all(near, some) for topic, some in answers.items()}


def _information_of_all(weights: Floats, facets: Sequence[Floats]) -> float:
    """`information` of several facets, (N, A_f) each, told in one answer: given the person their entropies
    add up, and the table of all combinations is needed for its mean alone."""
    if not facets:
        return 0.0
    joint = weights[:, None]
    for answers in facets[:-1]:
        joint = (joint[:, :, None] * answers[:, None, :]).reshape(len(weights), -1)
    combined = entropy((joint.T @ facets[-1]).reshape(-1))
    return max(0.0, float(combined - weights @ sum(entropy(answers) for answers in facets)))


def _near(weights: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The candidates that are not left aside, and their posterior."""
    kept = np.flatnonzero(weights > 1e-6 / max(1, len(weights)))
    return kept, weights[kept] / weights[kept].sum()


def in_order_of_worth(topics: Sequence[str], worths: Mapping[str, float]) -> list[str]:
    """`topics`, the most telling first; those that no dossier knows come last, equal ones stay in order."""
    return sorted(topics, key=lambda topic: -worths.get(topic, -1.0))
