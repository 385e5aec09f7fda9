"""Exact search of the embedded gallery against numpy's whole score table, and against FAISS' flat index."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio, side_by_side
from ctgi.gallery.index import Gallery

COUNT, DIM, TOP = 100_000, 512, 20


def measure(out: Path) -> list[Ratio]:
    """100,000 vectors of 512, top 20, for 1, 16, 64 and 256 queries at once."""
    import faiss

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((COUNT, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)

    def whole_table(queries: np.ndarray) -> np.ndarray:
        scores = queries @ vectors.T
        best = np.argpartition(scores, COUNT - TOP, axis=1)[:, -TOP:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(Path(folder) / "gallery", "benchmark", DIM)
        gallery.upsert([f"{n:06d}" for n in range(COUNT)], vectors, [{"path": ""}] * COUNT)
        for count in (1, 16, 64, 256):
            queries = vectors[:count] + rng.standard_normal((count, DIM), dtype=np.float32) / 20
            found = gallery.search(queries, TOP).ids
            np.testing.assert_array_equal(found.astype(np.int64), whole_table(queries))
            for name, plain in (
                ("numpy", whole_table),
                ("FAISS flat", lambda queries: flat.search(queries, TOP)),
            ):
                times = side_by_side(
                    lambda queries=queries: gallery.search(queries, TOP),
                    lambda queries=queries, plain=plain: plain(queries),
                    7,
                )
                ratios.append(Ratio(f"search of {COUNT:,}, {count} queries, against {name}", *times))
    return ratios
