"""What a batch is worth: the place where SDM, and later further losses, meet the encoder."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.sdm import sdm_loss
from ctgi.training.loader import Batch


class Objective(Protocol):
    """A torch module, its own parameters trained and stored with the encoder's. Returns named scalar losses;
    their sum is minimised."""

    def __call__(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]: ...


class SDM(nn.Module):
    """IRRA's alignment loss alone, aware of identities."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, encoder: DualEncoder, batch: Batch) -> dict[str, Tensor]:
        text, image = encoder.encode_text(batch.ids), encoder.encode_image(batch.pixels)
        return {"sdm": sdm_loss(text, image, batch.identity, self.scale)}
