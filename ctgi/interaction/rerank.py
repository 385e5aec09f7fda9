"""Step 3 of MTI: Eq. 7 as one more search.

`λ·S(q, v) + (1-λ)·S(q̂, v)` is the inner product of `λ·t_q + (1-λ)·t_q̂` with v. The fused vector is not
brought back to unit length, so the score that comes back is Eq. 7 itself, over the whole gallery
(docs/adr/0004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Ranking:
    """Picture ids, best first, and their scores (inner products; the anchor's is 1)."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]

    def rank_of(self, picture: str) -> int | None:
        """Rank from 1, or None where the picture is not in this ranking."""
        return self.ids.index(picture) + 1 if picture in self.ids else None


def fuse(query: Vector, refined: Vector, lam: float) -> Vector:
    """Eq. 7's vector `lam·query + (1-lam)·refined`, float32 (D,), not normalised."""
    mixed = lam * query.astype(np.float64) + (1.0 - lam) * refined.astype(np.float64)
    return mixed.astype(np.float32)


def with_anchor(ranking: Ranking, anchor: str | None, depth: int) -> Ranking:
    """The ranking with the anchor's score set to 1, so at its head; at most `depth` long."""
    if anchor is None:
        return Ranking(ranking.ids[:depth], ranking.scores[:depth])
    others = [(i, s) for i, s in zip(ranking.ids, ranking.scores, strict=True) if i != anchor]
    kept = [(anchor, 1.0), *others][:depth]
    return Ranking(tuple(i for i, _ in kept), tuple(s for _, s in kept))
