"""The third signal: which pairs the model in training finds hard."""

from __future__ import annotations

import numpy as np

from ctgi.training.consensus import judge
from ctgi.training.trust.join import Numbers, Signal


def loss_signal(losses: Numbers) -> Signal:
    """From (N, 2S) losses: of all pairs under S views, then of their pictures with strangers' captions under
    the same. The trust of the "monotone" consensus; where no view tells wrong pairs from right ones it finds
    every pair right, which is no evidence."""
    own, wrong = np.hsplit(losses, 2)
    return Signal("loss", judge(own, wrong, "monotone", seed=(0, 0)).trust.astype(float))
