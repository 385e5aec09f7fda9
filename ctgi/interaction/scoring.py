"""Step 3 with any judge: Eq. 7 over similarity and answers, for every anchor, and the largest counts.

The paper mixes two similarities, λ·S(q, v) + (1-λ)·S(q̂, v). With a judge that weighs answers the same is done
with J = S + τ·w·log L: the query's J and the J of the query as refined for the anchor, whose reading is what
the query says and what the anchor's own answers add. Only judged pictures have a log L: the top K of the
plain ranking and of each fused one; for any other it is 0, what is expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.outcome import Anchor
from ctgi.interaction.persons import described_by
from ctgi.interaction.reading import Reading
from ctgi.interaction.rerank import Ranking, Scoring, Vector, merged, ordered, trusted
from ctgi.interaction.soft import log_likelihood

Search = Callable[[Vector], list[Ranking]]
Vectors = Callable[[Sequence[str]], NDArray[np.float32]]
Lifts = dict[str, NDArray[np.float64]]


def live_lifts(evidence: dict[str, float], anchors: Sequence[Anchor], config: MTIConfig) -> Lifts:
    """What the live judgements add: the model judged the query, and its word holds for the refined ones."""
    scale = config.temperature * config.weight
    return {name: np.full(max(1, len(anchors)), scale * value) for name, value in evidence.items()}


def dossier_lifts(
    names: Sequence[str], dossiers: Dossiers, reading: Reading, anchors: Sequence[Anchor], config: MTIConfig
) -> Lifts:
    """What the answers of `names` add: log L of the query, mixed with each refined query's as in Eq. 7."""
    some = dossiers.of([*names, *(anchor.id for anchor in anchors)])
    given = log_likelihood(some, reading, config)
    as_given = given.astype(np.float64)
    columns = []
    for number, anchor in enumerate(anchors):
        refined = described_by(some, len(names) + number, reading)
        added = Reading(refined.says[len(reading.says) :])
        lam = trusted(config.lam, anchor.trust)
        columns.append(lam * as_given + (1.0 - lam) * log_likelihood(some, added, config, given))
    table = config.temperature * config.weight * np.stack(columns or [as_given], axis=1)
    return dict(zip(names, table[: len(names)], strict=True))


def rank(scoring: Scoring, hits: Sequence[Ranking], vectors: Vectors | None) -> Ranking:
    """The pictures that were found or judged, by their final scores.

    The largest of several scores is known from the hits alone: where a picture is best it is among them.
    """
    found = merged(hits)
    if not scoring.lifts or vectors is None:
        return found
    names = list(scoring.lifts)
    lifted = Scoring(scoring.vectors, scoring.lifts).scores(vectors(names), names)
    scores = dict(zip(found.ids, found.scores, strict=True))
    return ordered({**scores, **dict(zip(names, map(float, lifted), strict=True))})
