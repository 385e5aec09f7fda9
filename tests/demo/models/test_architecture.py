from __future__ import annotations

import json

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from demo.models.architecture import SPECIAL_TOKENS, build_config, build_tokenizer

_TOKENIZER = build_tokenizer(["The person wears a red jacket."] * 3, 300)


def test_default_size_fits_the_shipped_weights():
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration(build_config(1024))
    blocks = sum(p.numel() for p in model.model.visual.blocks.parameters())
    everything = sum(p.numel() for p in model.parameters())
    assert 1.7e6 < blocks < 1.9e6
    assert everything < 5e6
    config = build_config(1024)
    text = config.text_config
    assert sum(text.rope_parameters["mrope_section"]) == text.hidden_size // text.num_attention_heads // 2


def test_special_tokens_take_the_ids_of_the_configuration(tokenizer):
    config = build_config(len(tokenizer))
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.convert_tokens_to_ids("<|image_pad|>") == config.image_token_id
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.eos_token_id == config.text_config.eos_token_id


@given(st.text())
def test_any_text_survives_the_tokenizer(text):
    import unicodedata

    ids = _TOKENIZER.encode(text, add_special_tokens=False)
    if not any(token in text for token in SPECIAL_TOKENS):
        assert _TOKENIZER.decode(ids) == unicodedata.normalize("NFC", text)


def test_a_written_directory_is_read_back_whole(model, tokenizer, model_directory):
    loaded, report = Qwen2VLForConditionalGeneration.from_pretrained(
        model_directory, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.tensor([[3, 20, 30, 40]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
    again = AutoTokenizer.from_pretrained(model_directory)
    text = "The person's 2 red\n\n jackets, <|im_end|> don't"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.chat_template == tokenizer.chat_template
    processor = json.loads((model_directory / "preprocessor_config.json").read_text())
    assert processor["min_pixels"] == processor["max_pixels"] == 21168
