"""The language side over packed branches, against the stock model run on each branch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.models.chat import rope_positions
from demo.models.fixed_grid import patchify, vision_tokens
from demo.models.text_states import branch_mask, text_states

PAD, VISION_START, VISION_END = 5, 3, 4


@pytest.fixture(scope="module")
def parts(tokenizer):
    """A prefix with a picture, and three continuations of it of different lengths."""
    random = np.random.default_rng(5)
    words = lambda count: [int(t) for t in random.integers(7, len(tokenizer), count)]  # noqa: E731
    return [1, *words(6), VISION_START, *[PAD] * 27, VISION_END], [words(n) for n in (9, 4, 13)]


@pytest.fixture(scope="module")
def patches():
    pixels = np.random.default_rng(3).integers(0, 256, (1, 252, 84, 3), np.uint8)
    return patchify(torch.from_numpy(pixels))


def _stock(model, ids, patches):
    tensor = torch.tensor([ids])
    grid = torch.tensor([[1, 18, 6]])
    types = (tensor == PAD).int()
    with torch.inference_mode():
        out = model.model(
            input_ids=tensor, pixel_values=patches[0], image_grid_thw=grid, mm_token_type_ids=types,
            output_hidden_states=True,
        )  # fmt: skip
    return out.last_hidden_state[0], out.hidden_states


def _packed(model, prefix, branches, patches):
    """States of one row that holds the prefix once and every branch; and where each branch lies."""
    ids, branch, positions, places = list(prefix), [0] * len(prefix), [], []
    positions.append(rope_positions(prefix, PAD))
    for number, words in enumerate(branches, 1):
        positions.append(rope_positions([*prefix, *words], PAD)[:, len(prefix) :])
        places.append(slice(len(ids), len(ids) + len(words)))
        ids += words
        branch += [number] * len(words)
    tensor = torch.tensor([ids])
    with torch.inference_mode():
        x = model.model.language_model.embed_tokens(tensor).clone()
        x[0, tensor[0] == PAD] = vision_tokens(model, patches)[0]
        mask = branch_mask(torch.tensor([branch]), torch.tensor([len(ids)]))
        where = torch.from_numpy(np.concatenate(positions, 1))[:, None]
        return [state[0] for state in text_states(model, x, where, mask)], places


def test_a_single_branch_equals_the_stock_model(model, parts, patches):
    prefix, branches = parts
    last, hidden = _stock(model, [*prefix, *branches[0]], patches)
    states, _ = _packed(model, prefix, branches[:1], patches)
    assert last.std() > 0.5 and len(states) == len(model.model.language_model.layers)
    torch.testing.assert_close(states[-1], last, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(states[0], hidden[1][0], atol=2e-4, rtol=1e-4)


def test_every_branch_equals_the_stock_model_on_that_branch_alone(model, parts, patches):
    prefix, branches = parts
    states, places = _packed(model, prefix, branches, patches)
    for words, place in zip(branches, places, strict=True):
        alone = _stock(model, [*prefix, *words], patches)[0][len(prefix) :]
        torch.testing.assert_close(states[-1][place], alone, atol=2e-4, rtol=1e-4)


def test_branches_do_not_see_each_other_and_all_see_the_picture(model, parts, patches):
    prefix, branches = parts
    before, places = _packed(model, prefix, branches, patches)
    other = [branches[0], [token + 1 for token in branches[1]], branches[2]]
    after, _ = _packed(model, prefix, other, patches)
    for number, place in enumerate(places):
        assert torch.equal(before[-1][place], after[-1][place]) == (number != 1)
    unlike, _ = _packed(model, prefix, branches, -patches)
    for place in places:
        assert (before[-1][place] - unlike[-1][place]).abs().amax(1).min() > 1e-4


def test_the_mask_by_definition():
    branch, lengths = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 0, 0, 0]]), torch.tensor([6, 3])
    mask = branch_mask(branch, lengths)
    assert mask.shape == (2, 1, 6, 6)
    for row in range(2):
        for query in range(int(lengths[row])):
            for key in range(6):
                own = branch[row, key] in (0, branch[row, query])
                sees = key <= query and own and key < lengths[row]
                assert bool(mask[row, 0, query, key]) == sees


def test_it_can_be_learnt_through(model, parts, patches):
    """Gradients reach the embeddings: it is for training, unlike the server's tower."""
    prefix, branches = parts
    ids = torch.tensor([[*prefix, *branches[0]]])
    x = model.model.language_model.embed_tokens(ids).detach().requires_grad_()
    mask = branch_mask(torch.zeros_like(ids), torch.tensor([ids.shape[1]]))
    where = torch.from_numpy(rope_positions(ids[0].tolist(), PAD))[:, None]
    text_states(model, x, where, mask)[-1][0, -1].sum().backward()
    assert (x.grad[0].abs().amax(1) > 0).all()
