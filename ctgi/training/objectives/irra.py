"""IRRA (Jiang and Ye, CVPR 2023): SDM + ID + MLM, each with weight 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctgi.encoders.dual import DualEncoder, rows, unit
from ctgi.training.distributed import gather, total, world
from ctgi.training.loader import Batch
from ctgi.training.objectives.cross_modal import WordLoss
from ctgi.training.objectives.draws import draw_key
from ctgi.training.objectives.identity import IdentityLoss
from ctgi.training.objectives.masking import mask_captions
from ctgi.training.objectives.sdm import SCALE, sdm_loss


class IRRA(nn.Module):
    """The three losses of a batch, over an encoder of plain CLIP towers.

    `captions` says what SDM and ID read. "masked", the default: the caption that MLM masks, as in the
    published code, where both are one array and the text tower therefore sees one text (it runs once here,
    twice there). "clean": the caption itself, as in the paper; the text tower runs twice.

    `padding`: "ignored", or "attended": MLM's cross-modal encoder sees captions padded to the whole context
    and attends to the padding, as in the published code. See ADR 0009.
    """

    def __init__(
        self,
        dim: int,
        identities: int,
        vocabulary: int,
        scale: float = SCALE,
        captions: str = "masked",
        padding: str = "ignored",
    ) -> None:
        super().__init__()
        self.scale, self.clean, self.attend_padding = scale, captions == "clean", padding == "attended"
        self.identity = IdentityLoss(dim, identities)
        self.words = WordLoss(dim, vocabulary)

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        ids = batch.ids
        if self.attend_padding:
            ids = functional.pad(ids, (0, encoder.context - ids.shape[1]))
        masked = mask_captions(ids, batch.pair, draw_key())
        image_tokens, text_tokens = encoder.image_tokens(batch.pixels), encoder.text_tokens(masked.ids)
        end = ids.argmax(dim=1)
        read = encoder.text_tokens(ids) if self.clean else text_tokens
        text, image = gather(read[rows(end), end].float()), gather(image_tokens[:, 0].float())
        identities, weight = gather(batch.identity), gather(batch.weight)
        padding = torch.arange(ids.shape[1], device=end.device) > end.unsqueeze(1)
        words, count = self.words(
            text_tokens,
            image_tokens,
            None if self.attend_padding else padding,
            masked.picked,
            ids,
            batch.weight,
        )
        return {
            "sdm": sdm_loss(unit(text), unit(image), identities, self.scale, weight),
            "id": self.identity(text, image, identities, weight),
            # Shares of a batch hold unequal numbers of picked words: the mean is over those of all.
            "mlm": world() * words / total(count).clamp(min=1),
        }
