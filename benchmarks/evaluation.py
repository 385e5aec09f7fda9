"""Evaluation block by block against the plain way: the whole score table, a full argsort, a loop for mINP.

Each runs in a process of its own, so that the peak of memory is its own. The plain way is the one of
IRRA's `rank` (github.com/anosorae/IRRA, utils/metrics.py), in numpy, with nothing kept longer than needed.
CTGI_BENCH_EVALUATION_SIZE=20000 is ICFG-PEDES's test split; the plain way then takes about 7 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio, peak_memory

SIZE = int(os.environ.get("CTGI_BENCH_EVALUATION_SIZE", "10000"))


def measure(out: Path) -> list[Ratio]:
    """Time and peak memory for SIZE queries by SIZE pictures, 20 pictures a person, vectors of 512."""
    ours, plain = (_in_a_process(way, SIZE) for way in ("blockwise", "plain"))
    np.testing.assert_allclose(ours["metrics"], plain["metrics"], atol=0.05)  # float32 ties aside
    facts = {"size": SIZE, "metrics": ours["metrics"], "below_2_GiB": ours["mib"] < 2048}
    name = f"evaluation of {SIZE:,} x {SIZE:,} against full argsort"
    return [
        Ratio(f"{name}: time", ours["seconds"], plain["seconds"], facts=facts),
        Ratio(f"{name}: memory", ours["mib"], plain["mib"], unit="MiB", facts=facts),
    ]


def plain_metrics(
    queries: np.ndarray, gallery: np.ndarray, wanted: np.ndarray, owned: np.ndarray
) -> list[float]:
    """R@1, R@5, R@10, mAP, mINP in percent."""
    matches = owned[np.argsort(-(queries @ gallery.T), axis=1)] == wanted[:, None]
    found = matches.cumsum(axis=1)
    recall = [float((found[:, rank - 1] > 0).mean()) for rank in (1, 5, 10)]
    inverse = [found[n, row.nonzero()[0][-1]] / (row.nonzero()[0][-1] + 1.0) for n, row in enumerate(matches)]
    precision = np.divide(found, np.arange(1, len(owned) + 1), dtype=np.float32, casting="same_kind")
    average = np.einsum("qg,qg->q", precision, matches, dtype=np.float64) / matches.sum(axis=1)
    return [100 * value for value in (*recall, float(average.mean()), float(np.mean(inverse)))]


def _in_a_process(way: str, size: int) -> dict:
    command = [sys.executable, "-m", "benchmarks.evaluation", way, str(size)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _work(way: str, size: int) -> dict:
    rng = np.random.default_rng(0)
    owned = np.arange(size) // 20
    people = rng.standard_normal((size // 20 + 1, 512), dtype=np.float32)
    gallery, queries = (
        people[owned] + 3 * rng.standard_normal((size, 512), dtype=np.float32) for _ in range(2)
    )
    for table in (gallery, queries):
        table /= np.linalg.norm(table, axis=1, keepdims=True)
    start = time.perf_counter()
    if way == "plain":
        metrics = plain_metrics(queries, gallery, owned, owned)
    else:
        from ctgi.evaluation.metrics import evaluate

        metrics = list(evaluate(queries, gallery, owned, owned).summary().values())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": peak_memory() / 2**20, "metrics": metrics}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("blockwise", "plain"))
    parser.add_argument("size", type=int)
    given = parser.parse_args()
    print(json.dumps(_work(given.way, given.size)))
