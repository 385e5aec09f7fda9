"""The exact scan against a full sort in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.gallery import scan
from ctgi.gallery.scan import top_k


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    queries=st.sampled_from([0, 1, 2, 5, 130]),
    k=st.integers(1, 70),
    cells=st.sampled_from([1, 40, 10**6]),
    run=st.sampled_from([1, 3, 64]),
    share=st.none() | st.floats(0, 1),
)
def test_equal_to_a_full_sort(seed, rows, queries, k, cells, run, share):
    rng = np.random.default_rng(seed)
    # Small integers: exact in float32, so every path must give the same numbers, and ties are common.
    table = rng.integers(-3, 4, (rows, 5)).astype(np.float32)
    asked = rng.integers(-3, 4, (queries, 5)).astype(np.float32)
    allowed = None if share is None else rng.random(rows) < share
    patch = pytest.MonkeyPatch()
    patch.setattr(scan, "_CELLS", cells)
    patch.setattr(scan, "_RUN", run)
    try:
        scores, found = top_k(table, asked, k, allowed)
    finally:
        patch.undo()
    full = asked.astype(np.float64) @ table.T.astype(np.float64)
    if allowed is not None:
        full = np.where(allowed, full, -np.inf)
    size = min(k, rows if allowed is None else int(allowed.sum()))
    assert scores.shape == found.shape == (queries, size)
    want = -np.sort(-full, axis=1)[:, :size]
    np.testing.assert_array_equal(scores, want)
    np.testing.assert_array_equal(np.take_along_axis(full, found, 1), want)
    for line, row in zip(scores, found, strict=True):
        assert len(set(row)) == size
        assert [(-s, r) for s, r in zip(line, row, strict=True)] == sorted(
            (-s, r) for s, r in zip(line, row, strict=True)
        )


def test_more_rows_than_a_block_for_every_kernel():
    rng = np.random.default_rng(5)
    table = rng.standard_normal((20_000, 8)).astype(np.float32)
    for queries in (1, 3, 200):
        asked = rng.standard_normal((queries, 8)).astype(np.float32)
        _, found = top_k(table, asked, 10)
        full = asked.astype(np.float64) @ table.T.astype(np.float64)
        assert np.array_equal(found, np.argsort(-full, axis=1)[:, :10])
