"""R@k, mAP and mINP without a full sort, block by block.

Of a query's ranking only the places of its positives matter, and the place of a positive is one plus the
number of gallery pictures that score higher. So a block of queries is scored against the gallery, the
*values* of each row are sorted (not the order: several times faster and half the memory), and every
positive looks up its place. 20,000 queries by 20,000 pictures stay below 1 GB, where the full argsort
takes 3.2 GB for the order alone.

Ties: of equal scores the picture that comes first in the gallery ranks first, as in a stable sort. Queries
without a single positive in the gallery have no defined score; they are left out of every mean and counted.

Source of the definitions: the test protocol of IRRA (github.com/anosorae/IRRA, utils/metrics.py); CTGI,
Sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctgi.errors import CtgiError

RANKS = (1, 5, 10)
METRICS = ("R@1", "R@5", "R@10", "mAP", "mINP")

Scores = Callable[[int, int], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Evaluation:
    """Per-query results, for the queries that have at least one positive.

    Attributes:
        queries: int64 (N,), positions in the list of queries.
        identities: (N,), the identity each query asks for.
        first_rank: int64 (N,), place of the best positive, from 1.
        average_precision: float64 (N,), in 0..1.
        inverse_penalty: float64 (N,), number of positives / place of the last one, in 0..1.
        excluded: number of queries without a positive.
        gallery: number of pictures.
    """

    queries: NDArray[np.int64]
    identities: NDArray[Any]
    first_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    inverse_penalty: NDArray[np.float64]
    excluded: int
    gallery: int

    def per_query(self) -> NDArray[np.float64]:
        """float64 (N, 5) in the order of `METRICS`, in percent; their mean over N is the table's row."""
        hits = [self.first_rank <= rank for rank in RANKS]
        return 100.0 * np.column_stack([*hits, self.average_precision, self.inverse_penalty]).astype(
            np.float64
        )

    def summary(self) -> dict[str, float]:
        """R@1, R@5, R@10, mAP and mINP in percent.

        R@k with a gallery of fewer than k pictures is R@(all of them), hence 100.
        """
        return dict(zip(METRICS, self.per_query().mean(axis=0).tolist(), strict=True))


def evaluate(
    query_vectors: NDArray[np.float32],
    gallery_vectors: NDArray[np.float32],
    query_identities: ArrayLike,
    gallery_identities: ArrayLike,
    *,
    anchors: ArrayLike | None = None,
    block: int = 256,
) -> Evaluation:
    """Evaluate rankings by inner product.

    Args:
        query_vectors: float32 (Q, D). For MTI these are the fused vectors λ·t_q + (1-λ)·t_q̂ (Eq. 7).
        gallery_vectors: float32 (G, D).
        query_identities: (Q,), gallery_identities: (G,); any values that can be compared.
        anchors: int (Q,), the gallery position that MTI puts first, -1 for none. Eq. 7 sets its similarity
            to 1, the largest there is; where rounding lifts another picture to 1 the anchor still comes
            first.
        block: queries scored at a time.

    Raises:
        CtgiError: shapes that do not fit, vectors that are not finite, or no query with a positive.
    """
    queries, gallery = np.asarray(query_vectors), np.asarray(gallery_vectors)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise CtgiError(
            f"vectors of shapes {queries.shape} and {gallery.shape}: queries and gallery need (Q, D) and "
            "(G, D); encode both with one release"
        )
    if len(queries) != np.size(query_identities) or len(gallery) != np.size(gallery_identities):
        raise CtgiError("one identity is needed for every query and every gallery picture")
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        raise CtgiError("vectors hold values that are not finite; the model that made them is damaged")

    def scores(start: int, stop: int) -> NDArray[np.floating[Any]]:
        out: NDArray[np.floating[Any]] = queries[start:stop] @ gallery.T
        return out

    return evaluate_scores(scores, query_identities, gallery_identities, anchors=anchors, block=block)


def evaluate_scores(
    scores: Scores,
    query_identities: ArrayLike,
    gallery_identities: ArrayLike,
    *,
    anchors: ArrayLike | None = None,
    block: int = 256,
) -> Evaluation:
    """Evaluate any scoring: `scores(start, stop)` gives float (stop - start, G), higher is better.

    Scores are compared in float32.

    Raises:
        CtgiError: as `evaluate`.
    """
    wanted, owned = np.asarray(query_identities), np.asarray(gallery_identities)
    first_places = None if anchors is None else np.asarray(anchors, dtype=np.int64)
    if first_places is not None and (
        first_places.shape != wanted.shape or (first_places >= len(owned)).any() or (first_places < -1).any()
    ):
        raise CtgiError(
            f"anchors: one gallery position (or -1) is needed for each of the {len(wanted)} queries"
        )
    if block < 1:
        raise CtgiError(f"block {block}: at least one query is scored at a time")
    members = _Members(wanted, owned)
    kept = np.flatnonzero(members.count)
    if not len(kept):
        raise CtgiError(f"none of the {len(wanted)} queries has a picture of its identity in the gallery")

    rank = np.zeros(len(wanted), dtype=np.int64)
    precision, penalty = np.zeros(len(wanted)), np.zeros(len(wanted))
    for start in range(0, len(wanted), block):
        stop = min(start + block, len(wanted))
        table = scores(start, stop)
        if first_places is not None:
            rows = np.flatnonzero(first_places[start:stop] >= 0)
            table = table.astype(np.float32)
            table[rows, first_places[start:stop][rows]] = np.inf
        row, column = members.pairs(start, stop)
        if not len(row):
            continue
        places = _places(table, row, column)
        owner = start + row
        order = np.lexsort((places, owner))
        owner, places = owner[order], places[order]
        begins = np.flatnonzero(np.diff(owner, prepend=-1))
        counts = members.count[owner[begins]]
        nth = np.arange(len(owner)) - np.repeat(begins, counts) + 1
        who = owner[begins]
        rank[who] = places[begins]
        precision[who] = np.add.reduceat(nth / places, begins) / counts
        penalty[who] = counts / places[begins + counts - 1]
    return Evaluation(
        queries=kept.astype(np.int64),
        identities=wanted[kept],
        first_rank=rank[kept],
        average_precision=precision[kept],
        inverse_penalty=penalty[kept],
        excluded=len(wanted) - len(kept),
        gallery=len(owned),
    )


class _Members:
    """Which gallery positions belong to which query: the gallery ordered by identity, and ranges in it."""

    def __init__(self, wanted: NDArray[Any], owned: NDArray[Any]) -> None:
        self._order = np.argsort(owned, kind="stable")
        ordered = owned[self._order]
        self._begin = np.searchsorted(ordered, wanted, side="left")
        self.count = np.searchsorted(ordered, wanted, side="right") - self._begin

    def pairs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row (from 0 at `start`) and gallery position of every positive of these queries."""
        count = self.count[start:stop]
        row = np.repeat(np.arange(stop - start), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self._order[np.repeat(self._begin[start:stop], count) + within]


def _places(
    table: NDArray[np.floating[Any]], row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The place, from 1, of each given cell within its row of scores."""
    value = table[row, column]
    higher, equal = _higher_and_equal(table, row, value)
    places = 1 + higher
    for some in _parts(np.flatnonzero(equal > 1), limit=max(1, 2**22 // table.shape[1])):
        before = np.arange(table.shape[1]) < column[some, None]
        places[some] += ((table[row[some]] == value[some, None]) & before).sum(axis=1)
    return places


def _higher_and_equal(
    table: NDArray[np.floating[Any]], row: NDArray[np.int64], value: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many cells of the row are above, and how many are equal to, each value.

    All rows are searched at once, without a loop: floats become integers of the same order, the row number
    goes in front, and the sorted rows together are one sorted array.
    """
    width = table.shape[1]
    ordered = np.sort(_ordered_bits(table), axis=1).astype(np.uint64)
    ordered |= np.arange(len(table), dtype=np.uint64)[:, None] << np.uint64(32)
    keys = _ordered_bits(value).astype(np.uint64) | (row.astype(np.uint64) << np.uint64(32))
    flat = ordered.reshape(-1)
    below = np.searchsorted(flat, keys, side="left")
    up_to = np.searchsorted(flat, keys, side="right")
    return ((row + 1) * width - up_to).astype(np.int64), (up_to - below).astype(np.int64)


def _ordered_bits(values: NDArray[np.floating[Any]]) -> NDArray[np.uint32]:
    """float32 as uint32 such that the order is kept: flip the sign bit, and all bits of negative numbers."""
    bits = (np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)).view(
        np.uint32
    )  # + 0: -0.0 equals 0.0
    return bits ^ ((bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(0x80000000))


def _parts(indices: NDArray[np.int64], *, limit: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(indices), limit):
        yield indices[start : start + limit]
