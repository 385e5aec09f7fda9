"""Running a tower's blocks, and the one row of attention that token selection asks for.

The published models keep every block's attention map, (B, L, L) each, to use one row of the last. Here the
blocks run as they are, with fused attention and no map at all; the row is computed beside the last block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def run_blocks(transformer: Any, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """open_clip's `Transformer` on x (B, L, width), with the additive attention mask (L, L).

    Returns its output, and what entered its last block. Honours the transformer's gradient checkpointing.
    """
    entered = x
    for block in transformer.resblocks:
        entered = x
        if transformer.grad_checkpointing and torch.is_grad_enabled():
            x = checkpoint(block, x, None, None, mask, use_reentrant=False)
        else:
            x = block(x, attn_mask=mask)
    return x, entered


@torch.no_grad()
def attention_row(block: Any, x: Tensor, row: Tensor, seen: Tensor | None = None) -> Tensor:
    """How much position `row` of each sequence attends to every position in `block`: float32 (B, L).

    x (B, L, width): what enters the block. row int64 (B,). seen bool (B, L): what that position may look at;
    None means everything. The mean over the heads; a distribution over what is seen. Without a gradient:
    token selection uses the order alone.
    """
    attention = block.attn
    width, heads = x.shape[-1], attention.num_heads
    x = block.ln_1(x)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = functional.linear(x[torch.arange(x.shape[0], device=x.device), row], weight[:width], bias[:width])
    key = functional.linear(x, weight[width : 2 * width], bias[width : 2 * width])
    query = query.reshape(x.shape[0], 1, heads, width // heads).float()
    key = key.reshape(x.shape[0], x.shape[1], heads, width // heads).float()
    score = (query * key).sum(-1) / (width // heads) ** 0.5
    if seen is not None:
        score = score.masked_fill(~seen.unsqueeze(-1), -torch.inf)
    attended: Tensor = score.softmax(dim=1).mean(dim=-1)
    return attended
