"""Qwen2-VL's language side as few matrix products as it takes, over the weights of the stock model.

Tokens of all conversations lie packed in one matrix (no padding is ever multiplied by a weight); keys and
values live in one preallocated block, a row for each running conversation. Equal to the stock model's logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

MASKED = -1e9  # finite, so that padding queries, which see nothing, give no NaN


@dataclass(frozen=True)
class Step:
    """One forward pass: N tokens of the conversations in rows [first_row, first_row + B) of the key-value
    block.

    rows, places: (N,) row and position inside the row where each token's key and value are written.
    slots: (N,) where each token stands in the padded (B x S) queries.
    mask: float (B, S, T), 0 where a query sees a place and `MASKED` elsewhere.
    """

    first_row: int
    rows: Tensor
    places: Tensor
    slots: Tensor
    mask: Tensor


class LeanText:
    """The text tower with fused projections. `block` has shape (2, layers, rows, kv heads, places, head
    width)."""

    def __init__(self, model: Qwen2VLForConditionalGeneration) -> None:
        tower = model.model.language_model
        config = tower.config
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_width = config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.vocabulary = config.vocab_size
        self.embedding = tower.embed_tokens.weight.detach()
        self.head = model.lm_head.weight.detach()
        self.norm = tower.norm.weight.detach()
        self.layers = []
        for layer in tower.layers:
            attention, mlp = layer.self_attn, layer.mlp
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            self.layers.append(
                (
                    layer.input_layernorm.weight.detach(),
                    torch.cat([p.weight.detach() for p in projections]),
                    torch.cat([p.bias.detach() for p in projections]),
                    attention.o_proj.weight.detach(),
                    layer.post_attention_layernorm.weight.detach(),
                    torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()]),
                    mlp.down_proj.weight.detach(),
                )
            )
        sections = config.rope_parameters["mrope_section"]
        # Which of time, height and width turns each frequency.
        self.axis = np.repeat(np.arange(len(sections)), sections)
        self.frequencies = tower.rotary_emb.inv_freq.numpy().copy()

    def new_block(self, rows: int, places: int) -> Tensor:
        # Zeros and not `empty`: masked places are multiplied by 0, which leftover NaNs would survive.
        return torch.zeros(2, len(self.layers), rows, self.kv_heads, places, self.head_width)

    def rotation(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Cosines and sines (N, 1, head width) for M-RoPE positions (3, N)."""
        angles = positions.T[:, self.axis].astype(np.float32) * self.frequencies
        angles = np.concatenate([angles, angles], -1)[:, None]
        return torch.from_numpy(np.cos(angles)), torch.from_numpy(np.sin(angles))

    def forward(self, x: Tensor, positions: NDArray[np.int64], block: Tensor, step: Step) -> Tensor:
        """Embeddings (N, width) to final states (N, width); writes the tokens' keys and values into
        `block`."""
        count, width = x.shape
        batch, queries, places = step.mask.shape
        groups = self.heads // self.kv_heads
        rotated = self.heads + self.kv_heads
        rows = slice(step.first_row, step.first_row + batch)
        mask = step.mask.view(batch, 1, queries, 1, places)
        packed = count == batch * queries
        cos, sin = self.rotation(positions)
        half = self.head_width // 2
        signed = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        scale = self.head_width**-0.5
        for index, (norm_in, qkv_w, qkv_b, out_w, norm_mlp, gate_up_w, down_w) in enumerate(self.layers):
            keys, values = block[0, index], block[1, index]
            qkv = F.linear(F.rms_norm(x, (width,), norm_in, self.eps), qkv_w, qkv_b)
            qkv = qkv.view(count, self.heads + 2 * self.kv_heads, self.head_width)
            turning = qkv[:, :rotated]
            turned = torch.addcmul(turning * cos, turning.roll(half, -1), signed)
            keys[step.rows, :, step.places] = turned[:, self.heads :]
            values[step.rows, :, step.places] = qkv[:, rotated:]
            q = turned[:, : self.heads] * scale
            if not packed:
                q = q.new_zeros(batch * queries, self.heads, self.head_width).index_copy_(0, step.slots, q)
            # The query heads that share a key-value head stand side by side as more queries of it.
            q = q.reshape(batch, queries, self.kv_heads, groups, self.head_width).transpose(1, 2)
            q = q.reshape(batch, self.kv_heads, queries * groups, self.head_width)
            scores = (q @ keys[rows, :, :places].transpose(-1, -2)).view(
                batch, self.kv_heads, queries, groups, places
            )
            weights = scores.add_(mask).softmax(-1).view(batch, self.kv_heads, queries * groups, places)
            mixed = (weights @ values[rows, :, :places]).view(
                batch, self.kv_heads, queries, groups, self.head_width
            )
            mixed = mixed.transpose(1, 2).reshape(batch * queries, width)
            x = x + F.linear(mixed if packed else mixed[step.slots], out_w)
            gate, up = F.linear(F.rms_norm(x, (width,), norm_mlp, self.eps), gate_up_w).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down_w)
        return F.rms_norm(x, (width,), self.norm, self.eps)

    def logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self.head)
