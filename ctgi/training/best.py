"""The best epoch's weights in best/, written after the checkpoint that calls the epoch the best.

A run may die between the two, and an epoch that is done again may come out otherwise (a GPU, another number
of processes); written before, best/ could hold an epoch that the run knows nothing of. What is missing after
such a death is in the checkpoint itself: it was saved as that epoch ended.

A copy of the run that is kept elsewhere file by file may have best/ of an epoch ahead of its checkpoint. So
the same weights have a second name, best-DIGEST.safetensors, of the epoch's record; it is never written over,
and goes when a checkpoint calls another epoch the best. best/ is held against that digest, too: the same
epoch, done twice, need not be the same weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import CONFIG, WEIGHTS, save_checkpoint
from ctgi.errors import CtgiError
from ctgi.training.checkpoint import RunState, restore
from ctgi.training.model import Model

BEST = "best"
#: Of an epoch's record what tells when it was done, not what came out.
TIMES = ("seconds", "loader_wait_seconds")


def keep(encoder: DualEncoder, out: Path, record: Mapping[str, Any], trained_on: str | None) -> None:
    """Make best/ the epoch of `record`: the encoder's weights, with the epoch's facts in their header."""
    noted = {
        "epoch": str(record["epoch"]),
        "metrics": json.dumps(record["metrics"]),
        "selected_on": record["selected_on"],
        "record": _digest(record),
    }
    if trained_on is not None:
        noted["trained_on"] = trained_on
    save_checkpoint(encoder, out / BEST, noted)
    _set_aside(out, record)


def make_up_for(checkpoint: Path, state: RunState, model: Model, trained_on: str | None) -> None:
    """Make best/ what `state`, a part of `checkpoint`, calls the best, where it is not that.

    May put the checkpoint's weights into `model`. Raises CtgiError when they do not fit, and when best/ holds
    another epoch and nobody has the weights of the best one.
    """
    best, out = state.best, checkpoint.parent
    if best is None:
        return
    weights, aside = out / BEST / WEIGHTS, _aside(out, best)
    if _holds(weights, best):
        _set_aside(out, best)
    elif (state.epoch, state.step) == (best["epoch"], 0):
        restore(checkpoint, model)
        keep(model.encoder, out, best, trained_on)
    elif _holds(aside, best) and (out / BEST / CONFIG).is_file():
        _same(aside, weights)
        _set_aside(out, best)
    elif weights.exists():
        raise CtgiError(
            f"{weights}: not the weights of epoch {best['epoch']}, the best, and nobody has those; delete "
            "the run's folder and train again"
        )


def _set_aside(out: Path, record: Mapping[str, Any]) -> None:
    """Give what is in best/, the epoch of `record`, its second name, and take that of others away."""
    aside = _aside(out, record)
    if not _holds(aside, record):
        _same(out / BEST / WEIGHTS, aside)
    for other in out.glob(f"{BEST}-*.safetensors"):
        if other != aside:
            other.unlink(missing_ok=True)


def _same(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where a file has one name only, by one rename."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    with contextlib.suppress(FileNotFoundError):  # renamed to itself, a file keeps both names
        temporary.unlink()


def _holds(file: Path, record: Mapping[str, Any]) -> bool:
    """Whether these are the weights of that epoch; of an older version's the number has to do."""
    try:
        with safe_open(file, framework="pt") as opened:
            noted = opened.metadata() or {}
    except (OSError, SafetensorError):
        return False
    of_epoch: bool = noted.get("epoch") == str(record["epoch"])
    return of_epoch and noted.get("record", _digest(record)) == _digest(record)


def _aside(out: Path, record: Mapping[str, Any]) -> Path:
    return out / f"{BEST}-{_digest(record)}.safetensors"


def _digest(record: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in record.items() if name not in TIMES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
