"""The paper's own backbone at its own sizes; all other tests build small ones."""

from __future__ import annotations

import pytest
import torch

from ctgi.encoders.loading import load_encoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.encoders.tokens import tokenize


@pytest.mark.slow
@torch.inference_mode()
def test_vit_b16_at_384x128_and_248_positions() -> None:
    torch.manual_seed(0)
    encoder = load_encoder("ViT-B-16-quickgelu", None, 248).eval()
    assert encoder.clip.visual.positional_embedding.shape == (1 + 24 * 8, 768)
    assert encoder.clip.positional_embedding.shape == (248, 512)
    assert (encoder.dim, encoder.context) == (512, 248)
    ids, pixels = tokenize(["a man in a red jacket", "word " * 300], 248), torch.randn(1, 3, 384, 128)
    for made, dim in ((encoder, 512), (RdeEncoder.on_top_of(encoder).eval(), 512 + 1024)):
        assert made.dim == dim
        for vectors in (made.encode_text(ids), made.encode_image(pixels)):
            assert vectors.shape[1] == dim
            torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    # On each side MLP(x) + FC(x) from 512 to 1024: 512 x 512 and 512 x 1024 with biases and a norm of 512 in
    # the MLP, 512 x 1024 with a bias beside it.
    side = (512 * 512 + 512) + 2 * 512 + (512 * 1024 + 1024) + (512 * 1024 + 1024)
    assert isinstance(made, RdeEncoder)
    for selection in (made.image_selection, made.text_selection):
        assert sum(parameter.numel() for parameter in selection.parameters()) == side
    assert 2 * side == 2_628_608
