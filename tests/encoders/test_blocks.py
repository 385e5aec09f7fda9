from __future__ import annotations

import pytest
import torch
from open_clip.transformer import Transformer

from ctgi.encoders.blocks import attention_row, run_blocks


@pytest.fixture
def transformer() -> Transformer:
    torch.manual_seed(0)
    return Transformer(32, 3, 4)


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_blocks_are_run_as_they_are(transformer: Transformer, recomputed: bool) -> None:
    x, mask = torch.randn(2, 7, 32), torch.full((7, 7), -torch.inf).triu(1)
    expected = transformer(x, attn_mask=mask)
    transformer.grad_checkpointing = recomputed
    out, entered = run_blocks(transformer, x, mask)
    assert torch.equal(out, expected)
    assert torch.equal(transformer.resblocks[-1](entered, attn_mask=mask), expected)


@pytest.mark.parametrize("causal", [False, True])
def test_a_row_is_that_of_the_whole_map(transformer: Transformer, causal: bool) -> None:
    x, row = torch.randn(3, 9, 32), torch.tensor([8, 2, 5])
    mask = torch.full((9, 9), -torch.inf).triu(1) if causal else None
    block = transformer.resblocks[-1]
    h = block.ln_1(x)
    _, maps = block.attn(h, h, h, attn_mask=mask, need_weights=True)
    seen = torch.arange(9) <= row.unsqueeze(1) if causal else None
    got = attention_row(block, x, row, seen)
    torch.testing.assert_close(got, maps[torch.arange(3), row])
    assert not got.requires_grad
