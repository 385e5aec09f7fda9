"""One run in several processes: how they meet, wait and share, so that their losses are one loss.

`torchrun` starts the processes. Each holds an equal share of every batch; what the losses compare is
gathered, so that negatives are those of the whole batch. Gradients keep one rule: **the mean over the
processes of what their objectives return must be the loss of the whole batch**. A loss made of gathered
tensors alone is the same in every process and obeys it; so does a mean over the own share. A mean over
something of which shares hold unequal numbers (masked tokens, say) must be written as
`world() * sum_of_the_own_share / total(number_in_the_own_share)`.

Without torchrun everything here is the identity: one process, whose share is the batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from ctgi.encoders.processes import alone, rank, total, world
from ctgi.errors import CtgiError

__all__ = ["alone", "gather", "local_rank", "process_group", "rank", "total", "wait", "world"]

WAIT = timedelta(hours=6)
"""How long processes wait for each other. torch's ten minutes are too few where one of them decodes a large
set for all; if one dies, torchrun ends the others at once."""


def gather(x: Tensor) -> Tensor:
    """The whole batch's rows: (B, ...) of every process, in the order of ranks, to (world() * B, ...).

    B and dtype are the same everywhere (the loader sees to it). Gradients flow back to the process that a
    row came from, summed over what all processes made of it. Works for integers and booleans as well.
    """
    if world() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def wait() -> None:
    """Go on when every process has come here."""
    if world() > 1:
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, for as long as the block lasts; do nothing without it.

    NCCL between GPUs, gloo between CPUs. A group that the caller has made already is used as it is.
    Raises CtgiError when the others cannot be reached.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
            dist.init_process_group("nccl", timeout=WAIT, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        raise CtgiError(
            f"the other processes cannot be reached ({' '.join(str(error).split())[:200]}); start them with "
            "torchrun --nproc-per-node N -m ctgi train …"
        ) from error
    yield
    # Not after an error: the others may be waiting for this process, and saying goodbye would wait for them.
    dist.destroy_process_group()


def local_rank() -> int:
    """This process among those of its machine, as torchrun says: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        summed = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]
