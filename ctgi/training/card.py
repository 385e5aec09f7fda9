"""What a run is, so that an output folder is continued by the same run and by no other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ctgi.datasets.annotations import Sample
from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_json
from ctgi.training.config import TrainConfig
from ctgi.training.model import Model

FILE = "run.json"
INDIFFERENT = ("accumulation", "cache_gb", "checkpoint_steps", "device", "recompute", "tensorboard")
"""Options that change how a run is done and not what comes out (but for rounding, and for the batch norm in
RDE's token selection); they may differ when it goes on, and so may the number of processes."""


def run_card(
    config: TrainConfig,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    model: Model,
    trust: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The options that matter, and SHA-256 digests of both splits, of the trust in the pairs and of the
    initial weights."""
    card: dict[str, Any] = {
        "options": {k: v for k, v in dataclasses.asdict(config).items() if k not in INDIFFERENT},
        "training set": _digest_samples(samples),
        "validation set": _digest_samples(val),
        "initial weights": _digest_weights(model),
    }
    if trust is not None:
        card["trust in pairs"] = hashlib.sha256(json.dumps([float(x) for x in trust]).encode()).hexdigest()
    return card


def claim(out: Path, card: dict[str, Any], started: bool) -> None:
    """Make `out` this run's folder, or recognise it as such.

    `started` says whether a checkpoint is there. Before the first one there is nothing to protect: a run that
    stopped at a bad picture may be tried again with other pictures in the same folder.

    Raises CtgiError, naming what differs, when the checkpoint belongs to another run.
    """
    file = out / FILE
    if not started:
        write_json(file, card)
        return
    if not file.exists():
        raise CtgiError(f"{out}: holds a checkpoint without {FILE}; use another output folder or delete it")
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        different = [name for name in {**card, **before} if before.get(name) != card.get(name)]
        if "options" in different:
            old = before["options"]
            different[0] = ", ".join(k for k, v in card["options"].items() if old.get(k) != v) or "options"
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CtgiError(f"{file}: damaged ({error}); delete the run's folder and train again") from error
    if different:
        raise CtgiError(
            f"{out}: holds a run with other {', '.join(different)}; use another output folder or delete it"
        )


def _digest_samples(samples: Sequence[Sample]) -> str:
    # Paths relative to their common folder: a data set that was moved as a whole is still the same one.
    common = os.path.commonpath([sample.picture.absolute().parent for sample in samples])
    digest = hashlib.sha256()
    for sample in samples:
        name = sample.picture.absolute().relative_to(common).as_posix()
        digest.update(json.dumps([name, sample.identity, sample.captions]).encode())
    return digest.hexdigest()


def _digest_weights(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()
