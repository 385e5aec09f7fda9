"""The best epoch's weights in best/, written after the checkpoint that calls the epoch the best.

A run may die between the two, and an epoch that is done again may come out otherwise (a GPU, another number
of processes); written before, best/ could hold an epoch that the run knows nothing of. What is missing after
such a death is in the checkpoint itself: it was saved as that epoch ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import WEIGHTS, save_checkpoint
from ctgi.training.checkpoint import RunState, restore
from ctgi.training.model import Model

BEST = "best"


def keep(encoder: DualEncoder, out: Path, record: Mapping[str, Any], trained_on: str | None) -> None:
    """Make best/ the epoch of `record`: the encoder's weights, with the epoch's facts in their header."""
    noted = {
        "epoch": str(record["epoch"]),
        "metrics": json.dumps(record["metrics"]),
        "selected_on": record["selected_on"],
    }
    if trained_on is not None:
        noted["trained_on"] = trained_on
    save_checkpoint(encoder, out / BEST, noted)


def make_up_for(checkpoint: Path, state: RunState, model: Model, trained_on: str | None) -> None:
    """Write best/ where the run died after `checkpoint`, of which `state` is a part, and before that.

    Puts the checkpoint's weights into `model`. Raises CtgiError when they do not fit.
    """
    best, out = state.best, checkpoint.parent
    if best is None or (state.epoch, state.step) != (best["epoch"], 0) or _epoch(out) == str(best["epoch"]):
        return
    restore(checkpoint, model)
    keep(model.encoder, out, best, trained_on)


def _epoch(out: Path) -> str | None:
    try:
        with safe_open(out / BEST / WEIGHTS, framework="pt") as file:
            epoch: str | None = (file.metadata() or {}).get("epoch")
            return epoch
    except (OSError, SafetensorError):
        return None
