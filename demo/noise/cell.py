"""One cell: weight the captions, train, choose the epoch on val, measure on test."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pseudo import pseudo_samples
from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_checkpoint
from ctgi.evaluation.bootstrap import confidence_intervals
from ctgi.evaluation.metrics import evaluate
from ctgi.training.config import TrainConfig
from ctgi.training.engine import LAST, train
from ctgi.training.loader import load_pairs
from ctgi.training.objectives.build import build_encoder, build_objective
from ctgi.training.trust.answers import answers_signal
from ctgi.training.trust.encoded import encoded_signal
from ctgi.training.trust.join import LEAST, Signal, joined, weights
from ctgi.training.trust.weighed import Weighed
from ctgi.training.validation import embed
from demo.noise.corrupt import KINDS, Corrupted
from demo.noise.grid import SIGNALS, Cell
from demo.noise.task import unfamiliar

CONTEXT = 248


@dataclass(frozen=True)
class Bench:
    """What all cells share. `corrupted`: share of wrong captions to the captions that have it. `test`: names
    of query sets to pictures with these queries for captions; the first has the table."""

    val: tuple[Sample, ...]
    test: Mapping[str, tuple[Sample, ...]]
    pictures: Path
    clip: Path
    options: TrainConfig
    corrupted: dict[float, Corrupted]
    similarity: dict[float, Signal] = field(default_factory=dict)
    """What was found of a share before: all its cells have the same signal."""

    def samples(self, rate: float) -> tuple[Sample, ...]:
        return pseudo_samples(self.corrupted[rate].captions, self.pictures)


def run_cell(cell: Cell, bench: Bench, place: Path) -> dict[str, Any]:
    """The cell's record. Its run is kept in `place` until it is measured, and goes on there when killed."""
    start = time.monotonic()
    options = dataclasses.replace(bench.options, seed=cell.seed, rde_consensus="off")
    samples = bench.samples(cell.rate)
    fixed = [_signal(name, cell.rate, bench, place) for name in SIGNALS[cell.signal] if name != "loss"]
    torch.manual_seed(cell.seed)
    encoder = build_encoder(cell.model, load_checkpoint(bench.clip, CONTEXT), options)
    people = len({sample.identity for sample in samples})
    objective = build_objective(cell.model, encoder, options, identities=people, pairs=len(samples))
    trust: NDArray[np.float64] | None = None
    if "loss" in SIGNALS[cell.signal]:
        objective = Weighed(objective, len(samples), fixed)
    elif fixed:
        trust = weights(joined(fixed, len(samples)), LEAST)
    result = train(
        options,
        samples,
        bench.val,
        encoder,
        place,
        objective=objective,
        trust=None if trust is None else trust.tolist(),
        read=unfamiliar,
        progress=False,
    )
    if isinstance(objective, Weighed):
        trust = _last_trust(place)
    record = {
        "metrics": measured(load_checkpoint(result.best), bench, place / "test"),
        "val": result.metrics,
        "best_epoch": result.best_epoch,
        "trust": None if trust is None else trust_facts(trust, bench.corrupted[cell.rate].kinds),
        "seconds": result.seconds if result.seconds > 0 else time.monotonic() - start,
        "cell_seconds": time.monotonic() - start,
    }
    shutil.rmtree(place)
    return record


def trust_facts(trust: NDArray[np.float64], kinds: Sequence[str]) -> dict[str, Any]:
    """How well the trust tells right captions from wrong ones; the truth is used for nothing else.

    `auc`: of each kind of fault, the probability that a right caption is trusted more than one with it.
    """
    what = np.array(kinds)
    right = trust[what == ""]
    return {
        "mean": {
            kind or "right": float(trust[what == kind].mean())
            for kind in ("", *KINDS)
            if (what == kind).any()
        },
        "auc": {
            kind: _auc(right, trust[what == kind]) for kind in KINDS if (what == kind).any() and len(right)
        },
        "left_out": {
            kind or "right": int((trust[what == kind] == 0).sum())
            for kind in ("", *KINDS)
            if (what == kind).any()
        },
    }


def _auc(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    order = np.sort(low)
    below = np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")
    return float(below.mean() / (2 * len(low)))


def _signal(name: str, rate: float, bench: Bench, place: Path) -> Signal:
    """Similarity is that of the pre-trained encoder, which has seen none of these captions."""
    if name == "answers":
        return answers_signal(bench.corrupted[rate].captions)
    if rate not in bench.similarity:
        encoder = load_checkpoint(bench.clip, CONTEXT)
        samples = bench.samples(rate)
        bench.similarity[rate] = encoded_signal(bench.options, samples, encoder, place / "train", unfamiliar)
    return bench.similarity[rate]


def _last_trust(place: Path) -> NDArray[np.float64]:
    """The last epoch's trust, from the checkpoint: a run that was finished before is not loaded again."""
    from safetensors import safe_open

    with safe_open(place / LAST, framework="pt") as file:
        return np.asarray(file.get_tensor("model.objective.trust").double().numpy())


def measured(encoder: DualEncoder, bench: Bench, spill: Path) -> dict[str, Any]:
    """Of every query set the metrics with their intervals."""
    metrics = {}
    for name, test in bench.test.items():
        pairs = load_pairs(test, encoder.context, bench.options.cache_gb, spill, read=unfamiliar)
        texts, pictures = embed(encoder, pairs, torch.device("cpu"))
        found = evaluate(texts, pictures, pairs.identity.numpy(), pairs.owner.numpy())
        metrics[name] = {key: dataclasses.asdict(item) for key, item in confidence_intervals(found).items()}
    return metrics
