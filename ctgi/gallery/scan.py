"""The exact nearest vectors by inner product: every vector is looked at.

Which kernel is fastest depends on the number of queries. 100,000 vectors of 512, top 20, in milliseconds, on
two busy cores (so compare along a row; `python -m benchmarks.run index_search` measures again):

    queries   FAISS, 1 thread   FAISS, 2 threads   numpy, whole table   here: table and bound
          1                12                 76                   32                     31
          2                41                 53                  118                    113
          8               138                190                  148                    128
         16                                  320                  180                    128
         64                                  813                  280                    197
        256                                2,436                1,198                    645

FAISS' flat scan reads the whole index anew for every query, one thread to a query, and on one thread reads
memory as fast as the machine can (8 ms and 25 GB/s when it is idle); from 20 queries on it multiplies
matrices with the OpenBLAS that it brings along, which is slow for few rows, and its other threads wait for
each other. So a few queries go to FAISS on one thread; more go through numpy's BLAS as one product that every
core works on, and the best k are picked out of the scores by a bound rather than by a partition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEW = 4
_CELLS = 2**22  # scores in memory at a time
_RUN = 64


def top_k(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best rows of `vectors` for each query, best first; equal scores in the order of rows.

    Which of several equal scores at place k is taken is not defined.

    Args:
        vectors: float32 (N, D), C-contiguous.
        queries: float32 (Q, D).
        allowed: bool (N,), rows that may be returned; None for all.

    Returns:
        scores float32 (Q, k') and rows int64 (Q, k'), where k' = min(k, number of allowed rows).
    """
    count = len(vectors) if allowed is None else int(np.count_nonzero(allowed))
    k = min(k, count)
    if k == 0 or len(queries) == 0:
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if allowed is None and len(queries) <= FEW:
        scores, rows = _faiss(vectors, queries, k)
    else:
        scores, rows = _blocks(vectors, queries, k, allowed)
    order = np.lexsort((rows, -scores), axis=-1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _faiss(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import faiss

    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        scores, rows = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    finally:
        faiss.omp_set_num_threads(threads)
    return scores, rows


def _blocks(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    best = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    size = max(k, _CELLS // len(queries))
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        names = np.arange(start, start + len(part))
        if allowed is not None:
            chosen = allowed[start : start + size]
            part, names = part[chosen], names[chosen]
        if not len(part):
            continue
        scores, columns = _best(queries @ part.T, min(k, len(part)))
        best, rows = np.concatenate([best, scores], axis=1), np.concatenate([rows, names[columns]], axis=1)
        if best.shape[1] > k:
            best, columns = _best(best, k)
            rows = np.take_along_axis(rows, columns, 1)
    return best, rows


def _best(table: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k largest values of each row and their columns, in any order.

    The k-th largest of the maxima of short runs is a bound that at least k values reach and hardly more, so
    all but a few cells are only ever compared, which is much faster than to partition them with their places.
    """
    height, width = table.shape
    whole = width - width % _RUN
    if whole // _RUN >= 2 * k:
        maxima = table[:, :whole].reshape(height, -1, _RUN).max(axis=2)
        bound = np.partition(maxima, maxima.shape[1] - k, axis=1)[:, -k, None]
        row, column = np.divmod(np.flatnonzero(table >= bound), width)
        count = np.bincount(row, minlength=height)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        values = np.full((height, int(count.max())), -np.inf, dtype=np.float32)
        columns = np.zeros(values.shape, dtype=np.int64)
        values[row, place], columns[row, place] = table[row, column], column
    else:
        values, columns = table, np.broadcast_to(np.arange(width), table.shape)
    some = np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]
    return np.take_along_axis(values, some, 1), np.take_along_axis(columns, some, 1)
