"""Step 3 of MTI: Eq. 7 as one more search.

`λ·S(q, v) + (1-λ)·S(q̂, v)` is the inner product of `λ·t_q + (1-λ)·t_q̂` with v. The fused vector is not
brought back to unit length, so the score that comes back is Eq. 7 itself, over the whole gallery
(docs/adr/0004).

With several anchors there is one such vector each, searched as one batch, and a picture's score is the
largest. An anchor in which the judge has trust w moves the query by w only: its λ is 1 - w·(1 - λ), so w = 0
leaves the query as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Index(Protocol):
    """What MTI needs of a gallery: hits have `ids` and `scores`, a row a query, best first. `vectors(ids)`,
    float32 (n, D), is for scoring pictures by their answers too."""

    def search(self, vectors: Vector, k: int) -> Any: ...


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


def trusted(lam: float, trust: float) -> float:
    """λ of an anchor that is trusted with `trust`, 0 to 1."""
    return 1.0 - trust * (1.0 - lam)


@dataclass(frozen=True, eq=False)
class Scoring:
    """How the last ranking scores any picture: max over j of vectors[j]·v + lifts[v][j].

    Attributes:
        vectors: float32 (m, D), the query's vector or one fused vector an anchor.
        lifts: picture id -> float64 (m,), what its answers add; a picture that was not judged has none.
        anchor: the picture whose score the paper sets to 1, so that it leads; None for none.
    """

    vectors: NDArray[np.float32]
    lifts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    anchor: str | None = None

    def scores(self, table: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        """float32 (N,): the score of each picture of a gallery, `table` (N, D) and its `ids`; the anchor's is
        infinite, for it comes first whatever rounding does."""
        scores = table @ self.vectors.T
        if self.lifts:
            rows = [row for row, name in enumerate(ids) if name in self.lifts]
            if rows:
                scores[rows] += np.array([self.lifts[ids[row]] for row in rows], np.float32)
        best: NDArray[np.float32] = scores.max(axis=1)
        if self.anchor is not None:
            best[list(ids).index(self.anchor)] = np.inf
        return best


def merged(hits: Sequence[Ranking]) -> Ranking:
    """One ranking of several: each picture with its best score, equal ones in the order they were met in."""
    best: dict[str, float] = {}
    for ranking in hits:
        for name, score in zip(ranking.ids, ranking.scores, strict=True):
            best[name] = max(score, best.get(name, -np.inf))
    return ordered(best)


def ordered(scores: Mapping[str, float]) -> Ranking:
    """Pictures by score, best first; equal ones stay in their order."""
    names = sorted(scores, key=lambda name: -scores[name])
    return Ranking(tuple(names), tuple(scores[name] for name in names))
