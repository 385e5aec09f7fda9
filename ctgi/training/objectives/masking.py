"""Masked-language modelling's input: which tokens of a caption are hidden, and by what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctgi.training.objectives.draws import uniform

RATE = 0.15
MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
MASK = 49405
"""The mask token's id. In CLIP's vocabulary it is the last word before the two marks, "jekyll", whose row of
the embedding table serves as the mask, as in IRRA, whose tokenizer fails at the word. Here it is a word."""


@dataclass(frozen=True)
class Masked:
    """ids int64 (B, L), the masked captions. picked bool (B, L), the places to be told; their true ids are
    those of the captions that were masked."""

    ids: Tensor
    picked: Tensor


def eligible(ids: Tensor) -> Tensor:
    """bool (B, L): words, that is ids from 1 to 49404; not the mask, the two marks, or padding (also "!")."""
    return (ids > 0) & (ids < MASK)


def mask_captions(ids: Tensor, pairs: Tensor, key: int) -> Masked:
    """Hide 15 % of the words of each caption, int64 (B, L), as IRRA's code does; a new tensor.

    Of the picked words 80 % become the mask, 10 % a random word, 10 % stay as they are. Where nothing was
    picked, the first position is masked, unless the caption is empty: that would hide the end token, where
    the caption is read. `pairs` int64 (B,) and `key` decide every chance (see `draws`).
    """
    pick, how, which = uniform(key, pairs, ids.shape[1], 3)
    picked = eligible(ids) & (pick < RATE)
    masked = picked & (how < MASK_SHARE)
    random = picked & (how >= MASK_SHARE) & (how < MASK_SHARE + RANDOM_SHARE)
    forced = ~picked.any(dim=1) & (ids.argmax(dim=1) > 1)
    picked[:, 1] |= forced
    masked[:, 1] |= forced
    return Masked(ids.masked_fill(masked, MASK).where(~random, random_words(which)), picked)


def random_words(chance: Tensor) -> Tensor:
    """Uniform numbers of [0, 1) to ids int64, uniform over 1 to 49404."""
    return 1 + (chance * (MASK - 1)).to(torch.int64)
