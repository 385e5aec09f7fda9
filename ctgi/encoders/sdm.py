"""Similarity distribution matching (SDM), IRRA's alignment loss."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 50.0
EPSILON = 1e-8


def sdm_loss(text: Tensor, image: Tensor, identities: Tensor, scale: float = SCALE) -> Tensor:
    """SDM over a batch of B pairs: a scalar.

    `text` and `image`: unit-norm float32 (B, D). `identities`: int64 (B,).

    For each text the similarities to all pictures, times `scale` (1/0.02), become a distribution p by
    softmax; q spreads the mass evenly over the pictures of the same identity. The loss is the mean over the
    batch of KL(p || q), text to image plus image to text. The epsilon stands inside the logarithm:
    log(q + 1e-8), so mass on strangers costs up to 18.42 and never infinity.

    Source: IRRA (Jiang and Ye, CVPR 2023), Sec. 3.2, with the constants of the published code.
    """
    # At scale 50 half precision would round the similarities by up to 0.2: autocast ends here.
    with torch.autocast(text.device.type, enabled=False):
        same = (identities[:, None] == identities[None, :]).to(text.dtype)
        target = (same / same.sum(dim=1, keepdim=True) + EPSILON).log()
        similarity = scale * text @ image.T
        return _divergence(similarity, target) + _divergence(similarity.T, target)


def _divergence(similarity: Tensor, log_target: Tensor) -> Tensor:
    log_p = similarity.log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_target)).sum(dim=1).mean()
