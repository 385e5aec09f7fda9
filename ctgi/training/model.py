"""Encoder and objective as the one module that is optimised, stored and, under torchrun, kept in step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ctgi.encoders.dual import DualEncoder
from ctgi.training.distributed import world
from ctgi.training.in_parts import InParts
from ctgi.training.loader import Batch


class Model(nn.Module):
    """Called with a batch it gives the objective's named losses. `parts`: see `in_parts`."""

    def __init__(self, encoder: DualEncoder, objective: nn.Module, parts: int = 1) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self.parts = parts

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        encoder = self.encoder if self.parts == 1 else InParts(self.encoder, self.parts)
        losses: dict[str, Tensor] = self.objective(encoder, batch)
        return losses


def in_step(model: Model) -> nn.Module:
    """`model` with its gradients averaged over all processes; `model` itself where there is one.

    Unused parameters are looked for: CLIP's own temperature is one. It also keeps the layout of the gradient
    buckets the same from the first step to the last, and with it the order of additions, so that a resumed
    run makes the same bits.
    """
    if world() == 1:
        return model
    with warnings.catch_warnings():
        # Its successor is younger than the oldest torch that this runs on.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)


@contextmanager
def activations_recomputed(encoder: DualEncoder, wanted: bool) -> Iterator[None]:
    """Within the block the towers keep no activations but one a block (gradient checkpointing)."""
    encoder.clip.set_grad_checkpointing(wanted)
    try:
        yield
    finally:
        encoder.clip.set_grad_checkpointing(False)
