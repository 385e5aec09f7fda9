"""The dual encoder: open_clip's two CLIP towers behind two methods, any text length, unit-norm output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn import functional

from ctgi.encoders.blocks import run_blocks
from ctgi.encoders.quick_gelu import make_lean


class DualEncoder(nn.Module):
    """CLIP's towers. The inner product of the two sides' vectors is the similarity (design, 4.1).

    `config` is the open_clip model configuration that the towers were built from; `clip` is the open_clip
    model itself, whose state dict has open_clip's own names, so weights go in and out of open_clip freely.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(config)
        self.clip = CLIP(**self.config)
        make_lean(self.clip)
        self.context: int = self.clip.context_length
        self.dim: int = self.config["embed_dim"]

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pixels, float32 (B, 3, 384, 128), to unit-norm vectors, float32 (B, D)."""
        return unit(self.clip.visual(pixels))

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids, int64 (B, L) with 2 <= L <= context, to unit-norm vectors, float32 (B, D).

        The tower is causal and read at the end token, the largest id of a row, so what stands behind it
        changes nothing: a batch may be cut to its longest text. open_clip itself accepts L = context only.
        """
        states, _ = self._text_states(ids)
        return unit(self.clip.ln_final(states[rows(ids), ids.argmax(dim=1)]) @ self.clip.text_projection)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Pixels to every projected token, (B, 1 + patches, D), the global one first; not of unit norm."""
        return self._image_tokens(pixels)[0]

    def text_tokens(self, ids: Tensor) -> Tensor:
        """Token ids to every projected token, (B, L, D); the global one stands at the end token."""
        return self._text_tokens(ids)[0]

    def _image_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """All projected tokens, and what entered the last block."""
        visual = self.clip.visual
        states, entered = run_blocks(visual.transformer, visual._embeds(pixels))
        return visual.ln_post(states) @ visual.proj, entered

    def _text_tokens(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        states, entered = self._text_states(ids)
        return self.clip.ln_final(states) @ self.clip.text_projection, entered

    def _text_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        length = ids.shape[1]
        if not torch.compiler.is_compiling() and not 2 <= length <= self.context:
            raise ValueError(f"texts of {length} tokens; this encoder takes 2 to {self.context}")
        clip = self.clip
        x = clip.token_embedding(ids) + clip.positional_embedding[:length]
        return run_blocks(clip.transformer, x, clip.attn_mask[:length, :length])


def rows(x: Tensor) -> Tensor:
    """0 to B - 1, to pick one position of each row."""
    return torch.arange(x.shape[0], device=x.device)


def unit(x: Tensor) -> Tensor:
    """float32, of length 1 along the last axis."""
    return functional.normalize(x.float(), dim=-1)
