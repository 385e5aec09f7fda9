"""Everything that shapes a training run, with the published values as defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LR_STEPS = ("epoch", "step")


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a run; checked when made. Defaults are IRRA's published run.

    Raises CtgiError naming the field, its value and what is allowed.
    """

    epochs: int = 60
    batch_size: int = 64
    base_lr: float = 1e-5
    """Learning rate after warm-up for pre-trained weights; biases get `bias_lr_factor` times as much."""
    bias_lr_factor: float = 2.0
    new_lr_factor: float = 5.0
    """For randomly initialised layers (cross-modal encoder, classifier, MLM head): 5e-5 in the paper."""
    weight_decay: float = 4e-5
    """L2 as in Adam, not decoupled; biases get none."""
    adam_eps: float = 1e-3
    """IRRA's, chosen for pure fp16 weights. It dampens small gradients; a small model may want 1e-8."""
    warmup_epochs: float | None = None
    """None: 5 of 60 epochs, in proportion for shorter runs. Warm-up starts at a tenth of the rate."""
    lr_step: str = "epoch"
    """"epoch": the rate changes once per epoch, as published. "step": at every step, for short runs."""
    sdm_scale: float = 50.0
    augment: bool = True
    """IRRA's flip, pad and crop, and random erasing."""
    seed: int = 1
    device: str = "auto"
    """"auto": the GPU if there is one. Else a torch device name."""
    precision: str = "auto"
    """"auto": bf16 on a GPU, fp32 on a CPU. Weights stay fp32; only the towers run in half precision."""
    select: str = "R@1"
    """The validation metric whose best epoch is kept; of equals the one with higher mAP, then the earlier."""
    checkpoint_steps: int = 0
    """Besides the end of each epoch, save every so many steps; 0: only at the end of an epoch."""
    cache_gb: float = 8.0
    """Decoded pictures (147 kB each) up to this size are kept in memory, beyond it in a mapped file."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self._require(
                name, _whole(getattr(self, name)) and getattr(self, name) >= 1, "a whole number from 1"
            )
        for name in ("seed", "checkpoint_steps"):
            self._require(
                name, _whole(getattr(self, name)) and getattr(self, name) >= 0, "a whole number from 0"
            )
        for name in ("base_lr", "adam_eps", "sdm_scale", "bias_lr_factor", "new_lr_factor"):
            self._require(name, _number(getattr(self, name)) and getattr(self, name) > 0, "a number above 0")
        for name in ("weight_decay", "cache_gb"):
            self._require(name, _number(getattr(self, name)) and getattr(self, name) >= 0, "a number from 0")
        warmup = self.warmup_epochs
        fits = warmup is None or (_number(warmup) and 0 <= warmup < self.epochs)
        self._require("warmup_epochs", fits, f"a number from 0 to below {self.epochs} epochs, or null")
        self._require("lr_step", self.lr_step in LR_STEPS, f"one of {', '.join(LR_STEPS)}")
        self._require("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        self._require("augment", isinstance(self.augment, bool), "true or false")
        for name in ("device", "select"):
            self._require(name, isinstance(getattr(self, name), str) and getattr(self, name) != "", "a name")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From parsed YAML or flags. Raises CtgiError for a name that is not a field."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise CtgiError(f"training option {unknown[0]!r} is unknown; known: {', '.join(sorted(known))}")
        return cls(**values)

    def _require(self, name: str, fine: bool, allowed: str) -> None:
        if not fine:
            raise CtgiError(f"training option {name}={getattr(self, name)!r} is not {allowed}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
