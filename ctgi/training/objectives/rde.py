"""RDE (Qin et al., CVPR 2024): TAL on both embeddings, over the pairs that their consensus finds clean."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.training.consensus import judge
from ctgi.training.distributed import gather
from ctgi.training.loader import Batch
from ctgi.training.objectives.caption_noise import noisy_captions
from ctgi.training.objectives.draws import draw_key
from ctgi.training.objectives.tal import MARGIN, TAU, mismatched_losses, tal_losses


class RDE(nn.Module):
    """TAL of the basic global embedding plus TAL of the token selection embedding, summed over the batch.

    `consensus` ("off", or a rule of `ctgi.training.consensus`) sets `trust`, float32 (N,):
    how much each training pair counts, 1 until losses were observed. `clean`, float32 (N, 2), holds the
    probability of being rightly paired by each embedding. A pair that is not trusted is no anchor; its
    caption and picture still stand among the positives and negatives of others, as in the published code.
    """

    trust: Tensor
    clean: Tensor

    def __init__(
        self,
        pairs: int,
        tau: float = TAU,
        margin: float = MARGIN,
        consensus: str = "monotone",
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.tau, self.margin, self.consensus = tau, margin, consensus
        self.augment, self.seed = augment, seed
        self.observing = consensus != "off"
        self.register_buffer("trust", torch.ones(pairs))
        self.register_buffer("clean", torch.ones(pairs, 2))

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        ids = noisy_captions(batch.ids, batch.pair, draw_key()) if self.augment else batch.ids
        text, image = _parts(encoder, ids, batch.pixels)
        identities, weight = gather(batch.identity), gather(batch.weight * self.trust[batch.pair])
        return {
            name: (weight * tal_losses(gather(t), gather(v), identities, self.tau, self.margin)).sum()
            for name, t, v in zip(("bge", "tse"), text, image, strict=True)
        }

    @torch.no_grad()
    def pair_losses(self, encoder: DualEncoder, batch: Batch) -> Tensor:
        """TAL of each pair of the batch, captions not augmented: (B, 4), by BGE and by TSE; then the same of
        each picture with a stranger's caption, which shows what a wrong pair costs."""
        text, image = _parts(encoder, batch.ids, batch.pixels)
        return torch.stack(
            [
                losses(t, v, batch.identity, self.tau, self.margin)
                for losses in (tal_losses, mismatched_losses)
                for t, v in zip(text, image, strict=True)
            ],
            dim=1,
        )

    def observe(self, losses: Tensor, epoch: int) -> None:
        """Judge all pairs by their losses, (N, 4), before an epoch."""
        own, wrong = np.hsplit(losses.cpu().double().numpy(), 2)
        verdict = judge(own, wrong, self.consensus, seed=(self.seed, epoch))
        self.trust.copy_(torch.from_numpy(verdict.trust))
        self.clean.copy_(torch.from_numpy(verdict.clean))


def _parts(
    encoder: DualEncoder, ids: Tensor, pixels: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    rde = cast(RdeEncoder, encoder)
    return rde.text_parts(ids), rde.image_parts(pixels)
