"""The cells of the measurement: model, signals, share of wrong captions, seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MODELS = ("irra", "rde")
SIGNALS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "answers": ("answers",),
    "similarity": ("similarity",),
    "loss": ("loss",),
    "similarity+loss": ("similarity", "loss"),
    "joined": ("answers", "similarity", "loss"),
}
RATES = (0.0, 0.2, 0.5, 0.8)
SMALL_RATES = (0.0, 0.5)

SECONDS = {"irra": 120.0, "rde": 80.0, "clip": 5.0}
"""A guess at a cell (five epochs of 1,000 pictures on one idle core), until one has been measured."""


@dataclass(frozen=True)
class Cell:
    """`rate`: the share of captions that are made wrong."""

    model: str
    signal: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.signal}-{round(100 * self.rate):02d}-s{self.seed}"


PRETRAINED = Cell("clip", "none", 0.0, 0)
"""The small CLIP as it is, which every cell starts from."""


def cells(
    models: Sequence[str], signals: Sequence[str], rates: Sequence[float], seeds: int
) -> tuple[Cell, ...]:
    """All of them, a whole seed before the next."""
    return tuple(
        Cell(model, signal, rate, seed)
        for seed in range(1, seeds + 1)
        for rate in rates
        for model in models
        for signal in signals
    )
