"""Gradient accumulation that keeps the batch whole: encode part by part, compare all with all.

A contrastive loss is not a sum over its pairs: each pair's negatives are the rest of the batch. Adding up the
gradients of small batches therefore trains another, easier loss. Here the encoder works on a part of the
batch at a time and keeps nothing but its output; the loss is computed once, over the whole batch; on the way
back each part is encoded again, this time with what its gradient needs. That is GradCache's two passes (Gao
et al., RepL4NLP 2021), written as checkpointing. Memory is that of one part; time is one more forward pass.

The one thing that sees parts is a batch norm inside the encoder (RDE's token selection): its statistics are
those of a part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ENCODING = ("encode_", "image_", "text_")


class InParts:
    """Stands for an encoder whose encoding methods (Tensors (B, ...) in, one or several Tensors (B, ...) out)
    take the batch in `parts` parts when gradients are wanted. Everything else is the encoder's own."""

    def __init__(self, encoder: nn.Module, parts: int) -> None:
        self._encoder, self._parts = encoder, parts

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._encoder, name)
        if not (name.startswith(ENCODING) and inspect.ismethod(value) and torch.is_grad_enabled()):
            return value
        return lambda *given: self._encoded(value, given)

    def _encoded(self, encode: Callable[..., Any], given: tuple[Tensor, ...]) -> Any:
        rows = len(given[0])
        size = -(-rows // self._parts)
        done = []
        for start in range(0, rows, size):
            part = [each[start : start + size] for each in given]
            done.append(checkpoint(encode, *part, use_reentrant=False, context_fn=self._contexts))
        if isinstance(done[0], Tensor):
            return torch.cat(done)
        return tuple(torch.cat(each) for each in zip(*done, strict=True))

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(self._encoder)


@contextmanager
def _statistics_kept(encoder: nn.Module) -> Iterator[None]:
    """Running statistics have seen this part already; the second pass over it must not count again."""
    running = {name: x for name, x in encoder.named_buffers() if ".running_" in f".{name}"}
    before = {name: x.clone() for name, x in running.items()}
    try:
        yield
    finally:
        for name, x in running.items():
            x.copy_(before[name])
