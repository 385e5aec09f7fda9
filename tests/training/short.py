"""A run of the engine in three short epochs, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.training.config import TrainConfig
from ctgi.training.engine import TrainResult, train

Sets = tuple[tuple[Sample, ...], tuple[Sample, ...]]
Make = Callable[[], DualEncoder]
SHORT = TrainConfig(epochs=3, batch_size=8, base_lr=3e-3, adam_eps=1e-8, checkpoint_steps=2, device="cpu")


def run(sets: Sets, encoder: DualEncoder, out: Path, config: TrainConfig = SHORT, **more: Any) -> TrainResult:
    return train(config, *sets, encoder, out, progress=False, **more)


def tensors(out: Path) -> dict[str, Tensor]:
    return load_file(out / "last.safetensors") | {
        f"best.{k}": v for k, v in load_file(out / "best" / "model.safetensors").items()
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
