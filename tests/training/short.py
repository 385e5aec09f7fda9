"""A run of the engine in three short epochs, how it is cut off, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
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


def scored(*values: float) -> Callable[..., dict[str, float]]:
    left = iter(values)
    return lambda *_: {"R@1": next(left)}


def best_of(out: Path) -> tuple[str, dict[str, Tensor]]:
    """The epoch that best/ says it holds, and its weights."""
    with safe_open(out / "best" / "model.safetensors", "pt") as file:
        return file.metadata()["epoch"], {name: file.get_tensor(name) for name in file.keys()}


class Died(BaseException):
    """Stands for the death of the process at a chosen place; nothing in the engine catches it."""


def dying(function: Callable[..., Any], call: int, after: bool) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Died
        result = function(*args, **kwargs)
        if calls == call:
            raise Died
        return result

    return wrapped
