"""The learning rate over a run: warm-up, then half a cosine, as IRRA's published schedule."""

from __future__ import annotations

import math

PUBLISHED_EPOCHS, PUBLISHED_WARMUP = 60, 5
WARMUP_START = 0.1


def default_warmup(epochs: int) -> float:
    """5 epochs of 60, and the same share of a shorter run."""
    return min(PUBLISHED_WARMUP, PUBLISHED_WARMUP * epochs / PUBLISHED_EPOCHS)


def lr_factor(epoch: float, epochs: int, warmup: float) -> float:
    """What every group's rate is multiplied with at `epoch`, counted from 0 and possibly a fraction.

    Below `warmup` w: 0.1 (1 - e/w) + e/w. From there to `epochs` E: (1 + cos(pi (e - w) / (E - w))) / 2.
    Source: IRRA's LRSchedulerWithWarmup with mode cosine, target 0.
    """
    if epoch < warmup:
        share = epoch / warmup
        return WARMUP_START * (1 - share) + share
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
