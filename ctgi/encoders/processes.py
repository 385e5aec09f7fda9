"""The processes of a run, as far as an encoder has to know them: how many share a batch, and their sum.

`ctgi.training.distributed` starts them and says how they share; without it, or in one process, everything
here is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

_ALONE = False


def world() -> int:
    """How many processes share a batch; 1 without torchrun, and inside `alone`."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """This process among them, 0 to world() - 1. The first writes the files."""
    return dist.get_rank() if _together() else 0


def total(x: Tensor) -> Tensor:
    """The sum over all processes of a tensor of one shape; differentiable, not in place."""
    if world() == 1:
        return x
    summed: Tensor = _Total.apply(x)
    return summed


@contextmanager
def alone() -> Iterator[None]:
    """Within this block a process is by itself: `world()` is 1, `total` and `gather` are the identity."""
    global _ALONE
    before, _ALONE = _ALONE, True
    try:
        yield
    finally:
        _ALONE = before


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and not _ALONE


class _Total(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        summed = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed
