"""RDE's text augmentation: some words of a caption are masked, replaced or left out."""

from __future__ import annotations

from torch import Tensor

from ctgi.training.objectives.draws import uniform
from ctgi.training.objectives.masking import MASK, eligible, random_words

RATE = 0.2
MASK_SHARE, RANDOM_SHARE = 0.6, 0.2


def noisy_captions(ids: Tensor, pairs: Tensor, key: int) -> Tensor:
    """Captions int64 (B, L) to new ones of the same shape.

    Each word is touched with probability 0.2; then 60 % of the touched become the mask, 20 % a random word,
    20 % are deleted: what follows moves up, and padding fills the end.

    Source: RDE, the option txt_aug of its published run.
    """
    touch, how, which = uniform(key, pairs, ids.shape[1], 3)
    touched = eligible(ids) & (touch < RATE)
    masked = touched & (how < MASK_SHARE)
    random = touched & (how >= MASK_SHARE) & (how < MASK_SHARE + RANDOM_SHARE)
    deleted = touched & (how >= MASK_SHARE + RANDOM_SHARE)
    changed = ids.masked_fill(masked, MASK).where(~random, random_words(which)).masked_fill(deleted, 0)
    # A stable sort by "deleted" keeps the others in their order and sends the zeros behind them.
    return changed.gather(1, deleted.to(ids.dtype).argsort(dim=1, stable=True))
