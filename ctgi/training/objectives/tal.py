"""Triplet alignment loss (TAL): RDE's margin loss against a soft maximum of all strangers."""

from __future__ import annotations

import torch
from torch import Tensor

TAU, MARGIN = 0.015, 0.1


def tal_losses(
    text: Tensor, image: Tensor, identities: Tensor, tau: float = TAU, margin: float = MARGIN
) -> Tensor:
    """TAL of each of B pairs, both directions added: float32 (B,).

    `text` and `image`: unit-norm float32 (B, D); `identities` int64 (B,). For a row r of the similarities S
    with positives P (the same identity) and negatives N:

        max(0, margin - sum_P alpha_j S_rj + tau log sum_N exp(S_rj / tau)),  alpha = softmax_P(S_rj / tau)

    with alpha constant, and the same over S transposed. As a masked log-sum-exp it neither overflows at small
    tau nor, without a negative, returns gradients that are not numbers: such a row costs nothing.

    Source: RDE (Qin et al., CVPR 2024), Eq. 6 and 7, with positives by identity as in its code.
    """
    with torch.autocast(text.device.type, enabled=False):
        same = identities[:, None] == identities[None, :]
        similarity = text @ image.T
        return _one_way(similarity, same, tau, margin) + _one_way(similarity.T, same, tau, margin)


def _one_way(similarity: Tensor, same: Tensor, tau: float, margin: float) -> Tensor:
    scaled = similarity / tau
    alpha = scaled.detach().masked_fill(~same, -torch.inf).softmax(dim=1)
    positive = (alpha * similarity).sum(dim=1)
    # A row of nothing but -inf has no gradient that is a number; its value is not used.
    any_negative = ~same.all(dim=1)
    negatives = scaled.masked_fill(same & any_negative.unsqueeze(1), -torch.inf)
    loss = (margin - positive + tau * negatives.logsumexp(dim=1)).relu()
    return loss.where(any_negative, 0.0)
