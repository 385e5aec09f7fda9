"""Everything that shapes a training run, with the published values as defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError
from ctgi.training.objectives.config import ObjectiveConfig

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LR_STEPS = ("epoch", "step")
SAMPLERS = ("plain", "identity")
SELECT_ON = ("val", "test")
CHOICES = {"lr_step": LR_STEPS, "precision": PRECISIONS, "sampler": SAMPLERS, "select_on": SELECT_ON}


@dataclass(frozen=True)
class TrainConfig(ObjectiveConfig):
    """Configuration of a run; checked when made. Defaults are IRRA's published run.

    Raises CtgiError naming the field, its value and what is allowed.
    """

    epochs: int = 60
    batch_size: int = 64
    """Pairs in a step, over all processes and accumulated parts: what is compared with each other."""
    sampler: str = "plain"
    """"plain": every pair once an epoch, as published. "identity": batch_size / instances people with
    `instances` pairs each."""
    instances: int = 4
    """Pairs a person has in a batch of the identity sampler."""
    accumulation: int = 1
    """Parts in which a process encodes its share of a batch, to save memory; the loss sees the whole."""
    recompute: bool = False
    """Gradient checkpointing: keep one activation a block and compute the others again."""
    base_lr: float = 1e-5
    """Learning rate after warm-up for pre-trained weights; biases get `bias_lr_factor` times as much."""
    bias_lr_factor: float = 2.0
    new_lr_factor: float = 5.0
    """For randomly initialised layers (cross-modal encoder, classifier, MLM head): 5e-5 in the paper."""
    rde_new_lr: float = 1e-3
    """RDE's own rate for its token selection layers, biases included."""
    weight_decay: float = 4e-5
    """L2 as in Adam, not decoupled; biases get none."""
    adam_eps: float = 1e-3
    """IRRA's, chosen for pure fp16 weights. It dampens small gradients; a small model may want 1e-8."""
    warmup_epochs: float | None = None
    """None: 5 of 60 epochs, in proportion for shorter runs. Warm-up starts at a tenth of the rate."""
    lr_step: str = "epoch"
    """"epoch": the rate changes once per epoch, as published. "step": at every step, for short runs."""
    augment: bool = True
    """IRRA's flip, pad and crop, and random erasing."""
    seed: int = 1
    device: str = "auto"
    """"auto": the GPU if there is one, each process its own. Else a torch device name."""
    precision: str = "auto"
    """"auto": bf16 on a GPU, fp32 on a CPU. Weights stay fp32; only the towers run in half precision."""
    select: str = "R@1"
    """The validation metric whose best epoch is kept; of equals the one with higher mAP, then the earlier."""
    select_on: str = "val"
    """What the epoch is chosen on. "test" makes the result no measurement; all that is written says so."""
    patience: int = 0
    """Stop after so many epochs without a better one; 0: never."""
    checkpoint_steps: int = 0
    """Besides the end of each epoch, save every so many steps; 0: only at the end of an epoch."""
    cache_gb: float = 8.0
    """Decoded pictures (147 kB each) up to this size are kept in memory, beyond it in a mapped file; where
    the disk is too small for that they are decoded as they are read."""
    shard_window: int = 0
    """Of a set in shards, shuffle so many shards at a time, which reads them almost in order; 0: all."""
    tensorboard: bool = False
    """Write tensorboard/ besides the JSON lines."""

    def __post_init__(self) -> None:
        self.check_objective()
        for name in ("epochs", "batch_size", "instances", "accumulation"):
            self._require(
                name, _whole(getattr(self, name)) and getattr(self, name) >= 1, "a whole number from 1"
            )
        for name in ("seed", "checkpoint_steps", "patience", "shard_window"):
            self._require(
                name, _whole(getattr(self, name)) and getattr(self, name) >= 0, "a whole number from 0"
            )
        for name in ("base_lr", "adam_eps", "bias_lr_factor", "new_lr_factor", "rde_new_lr"):
            self._require(name, _number(getattr(self, name)) and getattr(self, name) > 0, "a number above 0")
        for name in ("weight_decay", "cache_gb"):
            self._require(name, _number(getattr(self, name)) and getattr(self, name) >= 0, "a number from 0")
        warmup = self.warmup_epochs
        fits = warmup is None or (_number(warmup) and 0 <= warmup < self.epochs)
        self._require("warmup_epochs", fits, f"a number from 0 to below {self.epochs} epochs, or null")
        for name, choices in CHOICES.items():
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        for name in ("augment", "recompute", "tensorboard"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        divides = self.sampler == "plain" or self.batch_size % self.instances == 0
        self._require("instances", divides, f"a divisor of batch_size={self.batch_size}")
        fits = self.sampler == "plain" or self.shard_window == 0
        self._require("shard_window", fits, "0, as the identity sampler wants people from all shards")
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
