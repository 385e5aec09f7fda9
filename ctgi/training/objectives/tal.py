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
        return _one_way(similarity, same, ~same, tau, margin) + _one_way(
            similarity.T, same, ~same, tau, margin
        )


def mismatched_losses(
    text: Tensor, image: Tensor, identities: Tensor, tau: float = TAU, margin: float = MARGIN
) -> Tensor:
    """TAL of each picture with a stranger's caption in the place of its own: float32 (B,).

    The stranger is the next one in the batch. Its own pictures and captions are left out of the negatives:
    in a training set a wrong caption seldom meets the person it is about. NaN where there is no stranger.
    """
    with torch.autocast(text.device.type, enabled=False):
        same = identities[:, None] == identities[None, :]
        rows = torch.arange(len(same), device=same.device)
        # Columns in the order i, i + 1, …, round the end: the first of another identity is the stranger.
        turned = (rows[:, None] + rows[None, :]) % len(same)
        stranger = (rows + (~same.gather(1, turned)).to(torch.int64).argmax(dim=1)) % len(same)
        negative = ~same & ~same[stranger]
        similarity = text @ image.T
        exchanged = similarity.T.clone()
        exchanged[rows, rows] = similarity[stranger, rows]
        losses = _one_way(similarity[stranger], same, negative, tau, margin) + _one_way(
            exchanged, same, negative, tau, margin
        )
        return losses.masked_fill(same.all(dim=1), torch.nan)


def _one_way(similarity: Tensor, positive: Tensor, negative: Tensor, tau: float, margin: float) -> Tensor:
    scaled = similarity / tau
    alpha = scaled.detach().masked_fill(~positive, -torch.inf).softmax(dim=1)
    pull = (alpha * similarity).sum(dim=1)
    # A row of nothing but -inf has no gradient that is a number; its value is not used.
    any_negative = negative.any(dim=1)
    push = tau * scaled.masked_fill(~negative & any_negative.unsqueeze(1), -torch.inf).logsumexp(dim=1)
    return (margin - pull + push).relu().where(any_negative, 0.0)
