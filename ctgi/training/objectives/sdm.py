"""Similarity distribution matching (SDM), IRRA's alignment loss, and the objective that is SDM alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctgi.encoders.dual import DualEncoder
from ctgi.training.distributed import gather
from ctgi.training.loader import Batch

SCALE = 50.0
EPSILON = 1e-8


def sdm_loss(
    text: Tensor, image: Tensor, identities: Tensor, scale: float = SCALE, weight: Tensor | None = None
) -> Tensor:
    """SDM over a batch of B pairs: a scalar.

    `text` and `image`: unit-norm float32 (B, D). `identities`: int64 (B,). `weight`: float32 (B,), the trust
    in each pair; ones when left out.

    For each text the similarities to all pictures, times `scale` (1/0.02), become a distribution p by
    softmax; q spreads the mass evenly over the pictures of the same identity. The loss is the mean over the
    batch of weight * KL(p || q), text to image plus image to text. The epsilon stands inside the logarithm:
    log(q + 1e-8), so mass on strangers costs up to 18.42 and never infinity.

    A weight takes a pair's part as an anchor; the mean stays one over B, so that what a pair counts does not
    depend on whom it shares the batch with.

    Source: IRRA (Jiang and Ye, CVPR 2023), Sec. 3.2, with the constants of the published code.
    """
    # At scale 50 half precision would round the similarities by up to 0.2: autocast ends here.
    with torch.autocast(text.device.type, enabled=False):
        same = (identities[:, None] == identities[None, :]).to(text.dtype)
        target = (same / same.sum(dim=1, keepdim=True) + EPSILON).log()
        similarity = scale * text @ image.T
        return _divergence(similarity, target, weight) + _divergence(similarity.T, target, weight)


def _divergence(similarity: Tensor, log_target: Tensor, weight: Tensor | None) -> Tensor:
    log_p = similarity.log_softmax(dim=1)
    per_row = (log_p.exp() * (log_p - log_target)).sum(dim=1)
    return (per_row if weight is None else weight * per_row).mean()


class SDM(nn.Module):
    """SDM alone, aware of identities."""

    def __init__(self, scale: float = SCALE) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        text, image = gather(encoder.encode_text(batch.ids)), gather(encoder.encode_image(batch.pixels))
        identities, weight = gather(batch.identity), gather(batch.weight)
        return {"sdm": sdm_loss(text, image, identities, self.scale, weight)}
