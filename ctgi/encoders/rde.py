"""RDE's encoder: the basic global embedding (BGE) and the token selection embedding (TSE) as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ctgi.encoders.blocks import attention_row
from ctgi.encoders.dual import DualEncoder, rows, unit
from ctgi.encoders.selection import TokenSelection

KIND = "rde"
RATIO = 0.3
OF = ("valid", "context")
"""What the ratio is taken of on the text side: a caption's own tokens, or all positions of the context."""


class RdeEncoder(DualEncoder):
    """CLIP's towers with token selection on both sides.

    `config` is the open_clip configuration with two more entries: "kind": "rde", and "selection": {"ratio",
    "of", "width"}. The vectors are the unit-norm BGE (embed_dim) and TSE (width, 1024 in RDE) side by side,
    times 1 / sqrt(2): their inner product is the mean of the two cosines (design, 4.1).

    On the picture's side floor(ratio * patches) tokens are chosen (57 of 192). On the text's side a caption
    of n tokens between start and end gives max(1, floor(ratio * n)) with "valid"; with "context", as in RDE's
    code, min(n, floor(ratio * (context - 2))), 22 for 77 positions and 73 for 248. See ADR 0010. An empty
    caption has nothing to choose from: its end token stands for it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in config.items() if name not in ("kind", "selection")})
        selection = config["selection"]
        width = int(selection["width"])
        self.config = dict(config)
        # A ratio in thousandths: 0.3 * 10 in floating point may fall short of 3.
        self._thousandths = round(1000 * selection["ratio"])
        self._of_context = selection["of"] == "context"
        self.image_selection = TokenSelection(self.dim, width)
        self.text_selection = TokenSelection(self.dim, width)
        self.dim += width

    @classmethod
    def on_top_of(cls, encoder: DualEncoder, of: str = "valid", ratio: float = RATIO) -> Self:
        """Fresh selection layers, drawn from torch's generator, on an encoder's own towers (not copied)."""
        selection = {"ratio": ratio, "of": of, "width": 2 * encoder.config["embed_dim"]}
        new = cls({**encoder.config, "kind": KIND, "selection": selection})
        new.clip = encoder.clip
        return new.to(encoder.clip.positional_embedding.device)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pixels, float32 (B, 3, 384, 128), to unit-norm vectors, float32 (B, D)."""
        return _joined(*self.image_parts(pixels))

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids, int64 (B, L) with 2 <= L <= context, to unit-norm vectors, float32 (B, D)."""
        return _joined(*self.text_parts(ids))

    def image_parts(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-norm BGE (B, embed_dim) and TSE (B, width) of pictures."""
        tokens, entered = self._image_tokens(pixels)
        batch, positions = tokens.shape[:2]
        first = torch.zeros(batch, dtype=torch.int64, device=tokens.device)
        attention = attention_row(_last(self.clip.visual.transformer), entered, first)
        attention = torch.cat([torch.full_like(attention[:, :1], -1.0), attention[:, 1:]], dim=1)
        most = max(1, self._share(positions - 1))
        selected = self.image_selection(tokens, attention, torch.full_like(first, most), most)
        return unit(tokens[:, 0]), unit(selected)

    def text_parts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-norm BGE (B, embed_dim) and TSE (B, width) of texts."""
        tokens, entered = self._text_tokens(ids)
        end = ids.argmax(dim=1)
        place = torch.arange(ids.shape[1], device=ids.device)
        attention = attention_row(_last(self.clip.transformer), entered, end, seen=place <= end.unsqueeze(1))
        own = (place >= 1) & (place < end.clamp(min=2).unsqueeze(1))
        attention = attention.masked_fill(~own, -1.0)
        count, most = self._text_counts((end - 1).clamp(min=1), ids.shape[1])
        selected = self.text_selection(tokens, attention, count, most)
        return unit(tokens[rows(ids), end]), unit(selected)

    def _text_counts(self, own: Tensor, length: int) -> tuple[Tensor, int]:
        """How many of each caption's `own` tokens are chosen, and the most that any of this length has."""
        if self._of_context:
            most = max(1, self._share(self.context - 2))
            return own.clamp(max=most), most
        return self._share(own).clamp(min=1), torch.sym_max(1, self._share(length - 2))

    def _share(self, count: Any) -> Any:
        """floor(ratio * count), of a whole number or a tensor of them."""
        return count * self._thousandths // 1000


def _last(transformer: Any) -> nn.Module:
    block: nn.Module = transformer.resblocks[-1]
    return block


def _joined(bge: Tensor, tse: Tensor) -> Tensor:
    return torch.cat([bge, tse], dim=1) / 2**0.5
