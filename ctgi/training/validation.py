"""Validation: every val caption against every val picture, with the metrics of the evaluation protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctgi.encoders.dual import DualEncoder
from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import evaluate
from ctgi.training.augment import finished, no_plan
from ctgi.training.distributed import rank, total, world
from ctgi.training.loader import Pairs

Embeddings = NDArray[np.float32]
Identities = NDArray[np.int64]
Metrics = Callable[[Embeddings, Embeddings, Identities, Identities], Mapping[str, float]]
"""(texts (Q, D), pictures (G, D), query identities (Q,), gallery identities (G,)) -> name: value."""


@torch.inference_mode()
def embed(
    encoder: DualEncoder, pairs: Pairs, device: torch.device, size: int = 64
) -> tuple[Embeddings, Embeddings]:
    """Unit-norm float32 embeddings of all captions (N, D) and all pictures (P, D), without augmentation.

    Processes share the work, and all of them get all of it.
    """
    training = encoder.training
    encoder.eval()
    try:
        texts = torch.zeros(len(pairs), encoder.dim, device=device)
        # Captions of like length share a batch, so that little padding is computed.
        for rows in _own_batches(torch.argsort(pairs.length, stable=True), 4 * size):
            texts[rows.to(device)] = encoder.encode_text(pairs.tokens(rows).to(device))
        pictures = torch.zeros(len(pairs.pictures), encoder.dim, device=device)
        for rows in _own_batches(torch.arange(len(pictures)), size):
            pixels = torch.from_numpy(pairs.pictures.rows(rows.numpy())).to(device)
            pictures[rows.to(device)] = encoder.encode_image(finished(pixels, no_plan(len(pixels))))
        # Every row is one process's and zero in the others: the sum puts them together.
        return total(texts).cpu().numpy(), total(pictures).cpu().numpy()
    finally:
        encoder.train(training)


def _own_batches(order: Tensor, size: int) -> Sequence[Tensor]:
    starts = range(rank() * size, len(order), world() * size)
    return [order[start : start + size] for start in starts]


def validate(
    encoder: DualEncoder, pairs: Pairs, metrics: Metrics, select: str, device: torch.device
) -> dict[str, float]:
    """The metrics on val. Raises CtgiError when `select` is not among them or is not a number."""
    texts, pictures = embed(encoder, pairs, device)
    values = {
        name: float(value)
        for name, value in metrics(texts, pictures, pairs.identity.numpy(), pairs.owner.numpy()).items()
    }
    if select not in values:
        raise CtgiError(
            f"training option select={select!r} is not a metric; choose one of {', '.join(values)}"
        )
    if not math.isfinite(values[select]):
        raise CtgiError(f"validation {select} is {values[select]}; the model has diverged, lower base_lr")
    return values


def protocol_metrics(
    texts: Embeddings, pictures: Embeddings, queries: Identities, gallery: Identities
) -> dict[str, float]:
    """R@1, R@5, R@10, mAP and mINP in percent, as the evaluation protocol defines them."""
    return evaluate(texts, pictures, queries, gallery).summary()
