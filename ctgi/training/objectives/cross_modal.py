"""IRRA's implicit relation reasoning: guess hidden words of a caption from the rest and the picture."""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import LayerNorm, QuickGELU, Transformer
from torch import Tensor, nn
from torch.nn import functional

from ctgi.encoders.quick_gelu import LeanQuickGELU, make_lean

DEPTH = 4
HEAD_WIDTH = 64


class CrossModalEncoder(nn.Module):
    """One cross-attention from the caption's tokens to the picture's, without a residual, then 4 pre-norm
    blocks without a causal mask, then a norm.

    Layers, names and initialisation are those of IRRA's published code (Sec. 3.3 of its paper). The names
    matter: its learning rates go by them, and leave the three norms outside at the towers' rate.
    """

    def __init__(self, dim: int, depth: int = DEPTH) -> None:
        super().__init__()
        heads = max(1, dim // HEAD_WIDTH)
        self.cross_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross_modal_transformer: Any = Transformer(dim, depth, heads, act_layer=QuickGELU)
        make_lean(self.cross_modal_transformer)
        self.ln_pre_t, self.ln_pre_i, self.ln_post = LayerNorm(dim), LayerNorm(dim), LayerNorm(dim)
        wide, narrow = dim**-0.5, dim**-0.5 * (2 * depth) ** -0.5
        blocks = self.cross_modal_transformer.resblocks
        for attention in (self.cross_attn, *(block.attn for block in blocks)):
            nn.init.normal_(attention.in_proj_weight, std=wide)
            nn.init.normal_(attention.out_proj.weight, std=narrow)
        for block in blocks:
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * dim) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=narrow)

    def forward(self, text: Tensor, image: Tensor, padding: Tensor | None) -> Tensor:
        """Projected tokens text (B, L, dim) and image (B, 1 + patches, dim) to (B, L, dim).

        padding bool (B, L), true where a text token is not to be looked at; None: all are, as in IRRA's code,
        where the loss therefore depends on how far a caption was padded.
        """
        image = self.ln_pre_i(image)
        x = self.cross_attn(self.ln_pre_t(text), image, image, need_weights=False)[0]
        for block in self.cross_modal_transformer.resblocks:
            h = block.ln_1(x)
            x = x + block.attn(h, h, h, key_padding_mask=padding, need_weights=False)[0]
            x = x + block.mlp(block.ln_2(x))
        out: Tensor = self.ln_post(x)
        return out


class WordHead(nn.Sequential):
    """From a token's state (…, dim) to scores of all words (…, V): Linear, QuickGELU, norm, Linear."""

    def __init__(self, dim: int, vocabulary: int, depth: int = DEPTH) -> None:
        dense, fc = nn.Linear(dim, dim), nn.Linear(dim, vocabulary)
        nn.init.normal_(dense.weight, std=(2 * dim) ** -0.5)
        nn.init.normal_(fc.weight, std=dim**-0.5 * (2 * depth) ** -0.5)
        super().__init__(dense, LeanQuickGELU(), LayerNorm(dim), fc)


class WordLoss(nn.Module):
    """MLM: the cross-modal encoder, its head, and the cross-entropy of the picked places."""

    def __init__(self, dim: int, vocabulary: int) -> None:
        super().__init__()
        self.relation = CrossModalEncoder(dim)
        self.mlm_head = WordHead(dim, vocabulary)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        padding: Tensor | None,
        picked: Tensor,
        truth: Tensor,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The sum of weight * cross-entropy over the picked places, and how many there are.

        text, image, padding: as in `CrossModalEncoder`, of the masked captions. picked bool (B, L); truth
        int64 (B, L), the captions' own ids; weight float32 (B,). Only picked places go through the head:
        scores of every word for every place would be most of a step's memory.
        """
        states = self.relation(text, image, padding)[picked]
        scores = self.mlm_head(states).float()
        per_word = functional.cross_entropy(scores, truth[picked], reduction="none")
        weights = weight.unsqueeze(1).expand_as(picked)[picked]
        return (weights * per_word).sum(), picked.sum().to(torch.float32)
