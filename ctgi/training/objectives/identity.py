"""IRRA's ID loss: every identity of the training set is a class, and both sides share one classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_STD = 0.001


class IdentityLoss(nn.Module):
    """A linear layer from features (not of unit norm) to identities; weights N(0, 0.001), bias 0.

    Source: IRRA, Sec. 3.4, with the initialisation of the published code.
    """

    def __init__(self, dim: int, identities: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, identities)
        nn.init.normal_(self.classifier.weight, std=INIT_STD)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, text: Tensor, image: Tensor, identities: Tensor, weight: Tensor) -> Tensor:
        """Features float32 (B, dim), identities int64 (B,) in 0..n-1, weight float32 (B,): a scalar.

        The mean over the batch of weight * (CE(text) + CE(image)) / 2.
        """
        with torch.autocast(text.device.type, enabled=False):
            per_pair = sum(
                functional.cross_entropy(self.classifier(side.float()), identities, reduction="none")
                for side in (text, image)
            )
            loss: Tensor = (weight * per_pair).mean() / 2
            return loss
