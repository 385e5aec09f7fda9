"""The lean text tower against the stock one: packed rows, a prefix already there, then one token more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.models.chat import rope_positions
from demo.models.fixed_grid import vision_tokens
from demo.models.lean_text import MASKED, LeanText, Step

PAD = 5  # <|image_pad|>


@pytest.fixture(scope="module")
def conversations(tokenizer):
    """Two conversations of different length, one with a picture."""
    words = [token for token in range(7, len(tokenizer))]
    random = np.random.default_rng(2)
    with_picture = [1, *random.choice(words, 9), 3, *[PAD] * 27, 4, *random.choice(words, 14)]
    without = [1, *random.choice(words, 22)]
    return [[int(t) for t in with_picture], [int(t) for t in without]]


def _stock_logits(model, ids, patches):
    tensor = torch.tensor([ids])
    picture = {"pixel_values": patches[0], "image_grid_thw": torch.tensor([[1, 18, 6]])} if PAD in ids else {}
    return model(input_ids=tensor, mm_token_type_ids=(tensor == PAD).int(), **picture).logits[0]


def _lean_logits(lean, embeddings, positions, block, spans):
    """Feed tokens [start, end) of conversation i to row 2 + i of the block; one logits tensor for each."""
    lengths = [end - start for start, end in spans]
    queries, places = max(lengths), max(end for _, end in spans)
    mask = torch.full((len(spans), queries, places), MASKED)
    for row, (start, end) in enumerate(spans):
        mask[row, : end - start][torch.arange(start, end)[:, None] >= torch.arange(places)] = 0
    step = Step(
        first_row=2,
        rows=torch.cat([torch.full((n,), 2 + row) for row, n in enumerate(lengths)]),
        places=torch.cat([torch.arange(*span) for span in spans]),
        slots=torch.cat([row * queries + torch.arange(n) for row, n in enumerate(lengths)]),
        mask=mask,
    )
    x = torch.cat([e[slice(*span)] for e, span in zip(embeddings, spans, strict=True)])
    p = np.concatenate([p[:, slice(*span)] for p, span in zip(positions, spans, strict=True)], 1)
    return lean.logits(lean.forward(x, p, block, step)).split(lengths)


def test_equals_the_stock_model(model, conversations):
    torch.manual_seed(0)
    patches = torch.randn(1, 108, 1176)
    lean = LeanText(model)
    with torch.inference_mode():
        stock = [_stock_logits(model, ids, patches) for ids in conversations]
        embeddings = [lean.embedding[torch.tensor(ids)].clone() for ids in conversations]
        embeddings[0][torch.tensor(conversations[0]) == PAD] = vision_tokens(model, patches)[0]
        positions = [rope_positions(ids, PAD) for ids in conversations]
        block = lean.new_block(5, 64)
        cuts = [(0, 20, len(conversations[0]) - 1), (0, 4, len(conversations[1]) - 1)]
        parts = [[], []]
        for spans in (
            [(a, b) for a, b, _ in cuts],  # a prefix that ends inside the picture
            [(b, c) for _, b, c in cuts],
            [(c, c + 1) for *_, c in cuts],  # a decode step
        ):
            for row, logits in enumerate(_lean_logits(lean, embeddings, positions, block, spans)):
                parts[row].append(logits)
    for ours, theirs in zip(parts, stock, strict=True):
        assert theirs.std() > 0.5
        torch.testing.assert_close(torch.cat(ours), theirs, atol=2e-4, rtol=1e-4)
