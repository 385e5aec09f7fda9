"""The third signal: which pairs the model in training finds hard."""

from __future__ import annotations

from ctgi.training.consensus import judge
from ctgi.training.trust.join import Numbers, Signal


def loss_signal(losses: Numbers) -> Signal:
    """From the losses of all pairs under S views, (N, S): the mean over the views of the "monotone"
    consensus's probability. Losses without two populations find every pair right, which is no evidence."""
    verdict = judge(losses, "monotone", seed=(0, 0))
    return Signal("loss", verdict.clean.astype(float).mean(axis=1))
