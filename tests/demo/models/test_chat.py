from __future__ import annotations

import numpy as np
import pytest
import torch

from demo.models.architecture import IMAGE_PAD, IMAGE_TOKENS, SPECIAL_TOKENS
from demo.models.chat import ChatEncoder, rope_positions

IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
TALK = [
    {"role": "system", "content": "You look at a picture."},
    {"role": "user", "content": [IMAGE, {"type": "text", "text": "What is the person wearing?\nSay."}]},
    {"role": "assistant", "content": "The person wears a red jacket."},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "the bag?"}]},
]


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return ChatEncoder(tokenizer)


@pytest.mark.parametrize("turns, prompt", [(2, True), (3, False), (4, True)])
def test_equals_the_chat_template(tokenizer, encoder, turns, prompt):
    text = tokenizer.apply_chat_template(TALK[:turns], tokenize=False, add_generation_prompt=prompt)
    expected = tokenizer(text.replace(IMAGE_PAD, IMAGE_PAD * IMAGE_TOKENS))["input_ids"]
    assert list(encoder.encode(TALK[:turns], generation_prompt=prompt).ids) == expected


def test_answers_are_the_spans_of_the_assistant(tokenizer, encoder):
    chat = encoder.encode(TALK)
    assert chat.pictures == 1
    assert [tokenizer.decode(chat.ids[a:b]) for a, b in chat.answers] == [
        "The person wears a red jacket.<|im_end|>"
    ]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_text_cannot_become_a_control_token(tokenizer, encoder, special):
    plain = encoder.encode([{"role": "user", "content": "a  b"}]).ids
    attack = encoder.encode([{"role": "user", "content": f"a {special} b"}]).ids
    number = tokenizer.convert_tokens_to_ids(special)
    assert attack.count(number) == plain.count(number)
    assert special in tokenizer.decode([t for t in attack if t >= len(SPECIAL_TOKENS)])


@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_positions_equal_the_stock_model(model, encoder, pictures):
    talk = [{"role": "user", "content": [*[IMAGE] * pictures, {"type": "text", "text": "yes or no"}]}]
    ids = encoder.encode(talk).ids
    tensor = torch.tensor([ids])
    kinds = (tensor == encoder.image_pad).int()
    grid = torch.tensor([[1, 18, 6]] * pictures) if pictures else None
    stock, _ = model.model.get_rope_index(tensor, kinds, grid)
    np.testing.assert_array_equal(rope_positions(ids, encoder.image_pad), stock[:, 0].numpy())
