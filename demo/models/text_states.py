"""The language side over packed lessons, differentiable: the stock modules, with a mask of branches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration


def branch_mask(branch: Tensor, length: Tensor) -> Tensor:
    """Branch numbers (B, L) and lengths (B,) to (B, 1, L, L): who sees whom.

    A token sees what came before it in the prefix (branch 0) and in its own branch.
    """
    places = torch.arange(branch.shape[1])
    causal = places[None, :] <= places[:, None]
    same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    inside = places[None, None, :] < length[:, None, None]
    return (causal & same & inside).unsqueeze(1)


def text_states(
    model: Qwen2VLForConditionalGeneration, x: Tensor, positions: Tensor, mask: Tensor
) -> list[Tensor]:
    """The states (B, L, D) after every layer, the last one normed as the stock `last_hidden_state` is.

    Takes embeddings (B, L, D), M-RoPE positions (3, B, L) and a mask (B, 1, L, L).
    """
    tower = model.model.language_model
    config = tower.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width = config.hidden_size // heads
    sections = config.rope_parameters["mrope_section"]
    axis = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    angles = positions.permute(1, 2, 0)[..., axis].float() * tower.rotary_emb.inv_freq
    cos, sin = (torch.cat([f(angles), f(angles)], -1).unsqueeze(1) for f in (torch.cos, torch.sin))

    def turn(t: Tensor) -> Tensor:
        first, second = t.chunk(2, -1)
        return t * cos + torch.cat((-second, first), -1) * sin

    batch, length, _ = x.shape
    states = []
    for layer in tower.layers:
        attention = layer.self_attn
        h = layer.input_layernorm(x)
        q = turn(attention.q_proj(h).view(batch, length, heads, width).transpose(1, 2))
        k = turn(attention.k_proj(h).view(batch, length, kv_heads, width).transpose(1, 2))
        v = attention.v_proj(h).view(batch, length, kv_heads, width).transpose(1, 2)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + attention.o_proj(mixed.transpose(1, 2).reshape(batch, length, heads * width))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        states.append(x)
    states[-1] = tower.norm(x)
    return states
