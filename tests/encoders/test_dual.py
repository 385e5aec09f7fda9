from __future__ import annotations

from typing import Any

import pytest
import torch

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_encoder
from ctgi.encoders.tokens import tokenize


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": [384, 128],
            "patch_size": 32,
            "width": 32,
            "layers": 1,
            "head_width": 16,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    encoder = load_encoder(config, None).eval()
    with torch.no_grad():  # fresh weights are so small that every text would look alike
        encoder.clip.positional_embedding.mul_(30)
        encoder.clip.token_embedding.weight.mul_(30)
    return encoder


TEXTS = ["a man", "a woman in a red jacket and blue trousers, carrying a bag!", ""]


@torch.inference_mode()
def test_both_sides_have_unit_norm(encoder: DualEncoder) -> None:
    text = encoder.encode_text(tokenize(TEXTS, 77))
    image = encoder.encode_image(torch.randn(2, 3, 384, 128))
    assert text.shape == (3, 16) and image.shape == (2, 16) == (2, encoder.dim)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))


@torch.inference_mode()
def test_any_length_gives_what_open_clip_gives_at_its_only_one(encoder: DualEncoder) -> None:
    ids = torch.nn.functional.pad(tokenize(TEXTS, 77), (0, 77))[:, :77]
    reference = encoder.clip.encode_text(ids, normalize=True)
    for length in (int((ids != 0).sum(1).max()), 30, 76, 77):
        torch.testing.assert_close(encoder.encode_text(ids[:, :length]), reference, rtol=0, atol=1e-6)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(
            encoder.encode_text(tokenize([text], 77))[0], reference[row], rtol=0, atol=1e-6
        )


@torch.inference_mode()
def test_what_stands_behind_the_end_changes_nothing(encoder: DualEncoder) -> None:
    ids = tokenize(TEXTS, 77)
    other = ids.clone()
    other[0, int(ids[0].argmax()) + 1 :] = 1234
    assert not torch.equal(ids, other)
    torch.testing.assert_close(encoder.encode_text(other), encoder.encode_text(ids), rtol=0, atol=1e-6)


@torch.inference_mode()
def test_the_image_side_is_open_clips(encoder: DualEncoder) -> None:
    pixels = torch.randn(2, 3, 384, 128)
    torch.testing.assert_close(
        encoder.encode_image(pixels), encoder.clip.encode_image(pixels, normalize=True)
    )


@pytest.mark.parametrize("length", [1, 78])
def test_a_length_out_of_range_is_refused(encoder: DualEncoder, length: int) -> None:
    with pytest.raises(ValueError, match="takes 2 to 77"):
        encoder.encode_text(torch.full((1, length), 49407))


@torch.inference_mode()
def test_half_precision_towers_still_end_in_unit_norm_float32(encoder: DualEncoder) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        text = encoder.encode_text(tokenize(TEXTS, 77))
    assert text.dtype == torch.float32
    torch.testing.assert_close(text.norm(dim=1), torch.ones(3))
