"""What IRRA and RDE train leaves torch and ranks rendered people as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_checkpoint
from ctgi.encoders.pixels import normalised, preprocess_spec, resized
from ctgi.encoders.rde import RdeEncoder
from ctgi.encoders.tokens import tokenize
from ctgi.export.parity import rank_agreement
from ctgi.export.publish import export_release
from ctgi.export.runtime import OnnxEncoders
from demo.models.launch import CLIP
from demo.pedestrians.attributes import sample_person
from demo.pedestrians.camera import sample_view
from demo.pedestrians.language import plain_caption, static_caption
from demo.pedestrians.render import render


@pytest.fixture(scope="module", params=["irra", "rde"])
def encoder(request: pytest.FixtureRequest) -> DualEncoder:
    """IRRA leaves the two towers, RDE its token selection as well: here on the small CLIP's trained towers,
    with selection layers that have seen something."""
    towers = load_checkpoint(CLIP, 248)
    if request.param == "irra":
        return towers.eval()
    torch.manual_seed(0)
    rde = RdeEncoder.on_top_of(towers)
    with torch.no_grad():
        for side in (rde.image_selection, rde.text_selection):
            side.norm.running_mean.normal_(std=0.1)
            side.norm.running_var.uniform_(0.05, 0.1)
    return rde.eval()


@pytest.mark.slow
def test_rendered_people_are_ranked_as_in_torch(encoder: DualEncoder, tmp_path_factory) -> None:
    folder, lines = tmp_path_factory.mktemp("releases") / "release", []
    export_release(encoder, folder, name="people", preprocess=preprocess_spec(), report=lines.append)
    assert "rank agreement 100.0 %" in lines[0]
    onnx = OnnxEncoders(folder, threads=1, batch=8)
    assert onnx.dim == encoder.dim and onnx.release.context == 248

    rng = np.random.default_rng(0)
    seen = [render(sample_person(rng), sample_view(rng)) for _ in range(24)]
    pictures = [Image.fromarray(pixels) for pixels, _ in seen]
    texts = [
        write(visible) for _, visible in seen for write in (static_caption, lambda v: plain_caption(v, rng))
    ]
    texts += ["", "jekyll", "<end_of_text> a man <start_of_text>", "word " * 300, "man"]
    with torch.no_grad():
        text = encoder.encode_text(tokenize(texts, 248)).numpy()
        image = encoder.encode_image(
            torch.from_numpy(normalised(np.stack([resized(picture) for picture in pictures])))
        ).numpy()
    text_onnx, image_onnx = onnx.encode_texts(texts), onnx.encode_pictures(pictures)
    np.testing.assert_allclose(text_onnx, text, atol=1e-5)
    np.testing.assert_allclose(image_onnx, image, atol=1e-5)
    # A whole ranking agrees when it differs only among pictures closer than the rounding of a sum.
    assert rank_agreement(text @ image.T, text_onnx @ image_onnx.T, 1e-6) == 1.0
    assert len({tuple(row) for row in np.argsort(-(text @ image.T), axis=1)}) > 10
    alone = np.concatenate([onnx.encode_texts([given]) for given in texts])
    np.testing.assert_allclose(alone, text_onnx, atol=1e-5)
