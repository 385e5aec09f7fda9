"""An objective whose pairs count as far as they are trusted, judged anew before each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctgi.encoders.dual import DualEncoder
from ctgi.training.loader import Batch
from ctgi.training.objectives.tal import mismatched_losses, tal_losses
from ctgi.training.trust.join import LEAST, Signal, joined, weights
from ctgi.training.trust.losses import loss_signal


class Weighed(nn.Module):
    """`objective` over N pairs, weighted by the losses' signal joined with `signals`, which do not change.

    Losses are those of the objective's own `pair_losses` (RDE: TAL by each of its embeddings), else TAL of
    the encoder's embedding. `trust` float32 (N,) is what each pair counts; before the first losses are seen,
    by the other signals alone. RDE's own consensus must be off: it would judge by the same losses again.
    """

    trust: Tensor
    fixed: Tensor | None

    def __init__(
        self, objective: nn.Module, pairs: int, signals: Sequence[Signal] = (), least: float = LEAST
    ) -> None:
        super().__init__()
        self.objective: Any = objective
        self.least, self.names = least, [signal.name for signal in signals]
        table = [signal.probability for signal in signals]
        self.register_buffer("fixed", torch.from_numpy(np.array(table)) if table else None)
        self.register_buffer("trust", torch.ones(pairs))
        self._judge([])

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        trusted = replace(batch, weight=batch.weight * self.trust[batch.pair])
        losses: dict[str, Tensor] = self.objective(encoder, trusted)
        return losses

    @torch.no_grad()
    def pair_losses(self, encoder: DualEncoder, batch: Batch) -> Tensor:
        """(B, 2S): the losses of each pair of the batch, then those of its picture with a stranger's
        caption."""
        if hasattr(self.objective, "pair_losses"):
            own: Tensor = self.objective.pair_losses(encoder, batch)
            return own
        text = encoder.encode_text(batch.ids).float()
        image = encoder.encode_image(batch.pixels).float()
        return torch.stack(
            [losses(text, image, batch.identity) for losses in (tal_losses, mismatched_losses)], dim=1
        )

    def observe(self, losses: Tensor, epoch: int) -> None:
        """Judge all pairs by their losses, (N, 2S), before an epoch. Raises CtgiError where none is left."""
        self._judge([loss_signal(losses.cpu().double().numpy())])

    def _judge(self, more: Sequence[Signal]) -> None:
        fixed = () if self.fixed is None else tuple(self.fixed.cpu().numpy())
        signals = [Signal(name, row) for name, row in zip(self.names, fixed, strict=True)]
        chance = joined([*signals, *more], len(self.trust))
        self.trust.copy_(torch.from_numpy(weights(chance, self.least)))
