"""Chances that belong to a place, not to a moment: (key, pair, position) always gives the same number.

A caption is masked alike whatever stands beside it in the batch, however far the batch is padded, on
whichever process and device. So a resumed run repeats itself, and several processes do what one would.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def draw_key() -> int:
    """A key from torch's generator of the CPU, which the training loop seeds by epoch and step."""
    return int(torch.randint(2**62, ()))


def uniform(key: int, pairs: Tensor, length: int, count: int) -> Tensor:
    """`count` uniform numbers of [0, 1) for each of `length` positions of each pair.

    pairs int64 (B,), numbers of pairs in the training set. float64 (count, B, length), on their device.

    Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), the finaliser used as a hash.
    """
    row = _hash(_hash(np.array([key], np.uint64)) ^ pairs.cpu().numpy().astype(np.uint64))
    place = np.arange(count * length, dtype=np.uint64).reshape(length, count)
    bits = _hash(row[:, None, None] + _STEP * place)
    numbers = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(np.ascontiguousarray(numbers.transpose(2, 0, 1))).to(pairs.device)


def _hash(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _STEP
    x = (x ^ (x >> np.uint64(30))) * _FACTORS[0]
    x = (x ^ (x >> np.uint64(27))) * _FACTORS[1]
    return x ^ (x >> np.uint64(31))
