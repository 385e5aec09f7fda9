"""What a search found and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.transcript import Pair
from ctgi.interaction.anchor import Judged
from ctgi.interaction.reading import Reading
from ctgi.interaction.rerank import Ranking, Scoring, Vector


class StopReason(StrEnum):
    """Why a search ended where it did."""

    REFINED = "refined"
    """All three steps were taken."""
    EARLY_STOP = "early_stop"
    """The top candidate was above ξ and confirmed: nothing to refine."""
    NO_ANCHOR = "no_anchor"
    """None of the top K fits."""
    NOTHING_MISSING = "nothing_missing"
    """The query leaves nothing open that the pool could ask."""
    NOTHING_LEARNT = "nothing_learnt"
    """No answer of the anchor was fit to be used, or rewriting changed nothing."""
    NOTHING_READ = "nothing_read"
    """The query says nothing that the dossiers know of."""
    DEADLINE = "deadline"
    MAX_CALLS = "max_calls"
    MODEL_FAILED = "model_failed"
    OFF = "off"
    """No chat model was given."""
    EMPTY_GALLERY = "empty_gallery"


@dataclass(eq=False)
class Anchor:
    """A candidate that the query is refined for.

    `trust` is how much it counts, from the judge's probability: 1 for a hard "yes", else its share against
    the best anchor's. `vector` float32 (D,) is Eq. 7's, None as long as nothing was refined.
    """

    id: str
    trust: float = 1.0
    pairs: list[Pair] = field(default_factory=list)
    refined_query: str | None = None
    vector: Vector | None = None


@dataclass(repr=False)
class SearchOutcome:
    """What a search found and what it took.

    `vector` float32 (D,) is the first anchor's fused vector, or the query's: with one anchor and the hard
    judge its inner product with any picture's vector is that picture's score, except the anchor's, which is
    1. In general a picture's score is what `scoring` says. `anchor`, `pairs` and `refined_query` are those of
    the first of `anchors`. `seconds` are by stage (encode, search, read, judge, ask, rewrite, rerank, total).
    `calls` and tokens are this search's; `cached` of the calls cost nothing, and `abandoned` were called off
    when the anchor was found (whether the server bills them is up to it).
    """

    query: str
    vector: Vector
    plain: Ranking
    ranking: Ranking
    anchors: list[Anchor] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    reading: Reading | None = None
    scoring: Scoring | None = None
    anchor: str | None = None
    pairs: list[Pair] = field(default_factory=list)
    refined_query: str | None = None
    stop_reason: StopReason = StopReason.OFF
    note: str = ""
    """One line for people where something was left out, else empty."""
    calls: int = 0
    cached: int = 0
    abandoned: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def scores(self, table: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        """float32 (N,): the final score of every picture of a gallery, `table` (N, D) and its `ids`."""
        return (self.scoring or Scoring(self.vector[None])).scores(table, ids)
