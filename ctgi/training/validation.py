"""Validation: every val caption against every val picture, with the metrics of the evaluation protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ctgi.encoders.dual import DualEncoder
from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import evaluate
from ctgi.training.augment import finished, no_plan
from ctgi.training.loader import Pairs

Embeddings = NDArray[np.float32]
Identities = NDArray[np.int64]
Metrics = Callable[[Embeddings, Embeddings, Identities, Identities], Mapping[str, float]]
"""(texts (Q, D), pictures (G, D), query identities (Q,), gallery identities (G,)) -> name: value."""


@torch.inference_mode()
def embed(
    encoder: DualEncoder, pairs: Pairs, device: torch.device, size: int = 64
) -> tuple[Embeddings, Embeddings]:
    """Unit-norm float32 embeddings of all captions (N, D) and all pictures (P, D), without augmentation."""
    training = encoder.training
    encoder.eval()
    try:
        texts = np.empty((len(pairs), encoder.dim), np.float32)
        # Captions of like length share a batch, so that little padding is computed.
        order = torch.argsort(pairs.length, stable=True)
        for start in range(0, len(order), 4 * size):
            rows = order[start : start + 4 * size]
            ids = pairs.ids[rows, : int(pairs.length[rows].max())].to(device)
            texts[rows.numpy()] = encoder.encode_text(ids).cpu().numpy()
        pictures = np.empty((len(pairs.pixels), encoder.dim), np.float32)
        for start in range(0, len(pictures), size):
            chunk = torch.from_numpy(np.array(pairs.pixels[start : start + size])).to(device)
            pictures[start : start + size] = (
                encoder.encode_image(finished(chunk, no_plan(len(chunk)))).cpu().numpy()
            )
    finally:
        encoder.train(training)
    return texts, pictures


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
