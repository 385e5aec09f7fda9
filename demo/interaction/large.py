"""What the dossier judge takes on a gallery of 100,000, beyond the plain search.

The pictures are those of the test set, drawn with replacement and moved a little, so that no two vectors are
alike; the encoder of the query is left out of both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.evaluation.protocol import Split
from ctgi.gallery.index import Hits
from ctgi.gallery.scan import top_k
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from demo.interaction.measured import Bench
from demo.interaction.methods import BY_NAME

SIZE = 100_000


class Crowd:
    """A gallery in memory that answers like one on disk."""

    def __init__(self, vectors: NDArray[np.float32], ids: NDArray[np.object_]) -> None:
        self._vectors, self._ids = vectors, ids

    def search(self, vectors: NDArray[np.float32], k: int) -> Hits:
        scores, rows = top_k(self._vectors, vectors, k)
        return Hits(self._ids[rows], scores)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        return self._vectors[[int(name) for name in ids]]


def crowd(split: Split, dossiers: Dossiers, size: int) -> tuple[Crowd, Dossiers]:
    """``size`` pictures, and a dossier for each."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, len(split.ids), size)
    vectors = split.picture_vectors[rows] + 0.02 * rng.standard_normal(
        (size, split.picture_vectors.shape[1])
    ).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.empty(size, dtype=object)
    names[:] = [f"{number:06d}" for number in range(size)]
    mine = dossiers.of(split.ids)
    tables = tuple(table[rows] for table in mine.probability)
    said = tuple(mine.said[row] for row in rows)  # what an anchor is asked is read from here
    return Crowd(vectors.astype(np.float32), names), Dossiers(mine.facets, tuple(names), tables, said=said)


def time_large(bench: Bench, config: MTIConfig, searches: int, size: int = SIZE) -> dict[str, Any]:
    """Milliseconds a query, medians over ``searches``: the plain search, the whole, and what MTI adds."""
    split = bench.split
    index, held = crowd(split, bench.dossiers, size)
    mti = replace(bench, dossiers=held).open(BY_NAME["all"], config, None, index)
    plain, whole = [], []
    for number in range(searches + 1):
        row = number * len(split.texts) // (searches + 1)
        vector = split.text_vectors[row]
        start = time.perf_counter()
        index.search(vector[None], config.depth)
        between = time.perf_counter()
        asyncio.run(mti.search(split.texts[row], vector))
        if number:  # the first wakes up both sides
            plain.append(1000 * (between - start))
            whole.append(1000 * (time.perf_counter() - between))
    return {
        "pictures": size,
        "searches": searches,
        "plain_ms": float(np.median(plain)),
        "whole_ms": float(np.median(whole)),
        "beyond_ms": float(np.median(np.array(whole) - np.array(plain))),
    }
