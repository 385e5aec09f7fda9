from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from demo.models.architecture import preprocessor_config
from demo.models.fixed_grid import patchify, to_array, to_pixels, vision_tokens


def test_processor_asks_for_the_fixed_grid_for_rendered_pictures():
    config = preprocessor_config()
    assert smart_resize(384, 128, 28, config["min_pixels"], config["max_pixels"]) == (252, 84)


def test_patches_equal_the_stock_processor(picture):
    stock = Qwen2VLImageProcessor(min_pixels=21168, max_pixels=21168)
    small = Image.fromarray(to_array(picture(1)))
    out = stock(small, return_tensors="pt")
    assert out["image_grid_thw"].tolist() == [[1, 18, 6]]
    np.testing.assert_allclose(to_pixels(small), out["pixel_values"].numpy(), atol=1e-5)


def test_resizing_is_that_of_the_stock_processor_up_to_rounding():
    # Smooth, as a photograph is between its edges: Pillow and torchvision round intermediate values
    # differently.
    y, x = np.mgrid[0:384, 0:128].astype(np.float64)
    waves = [127 + 100 * np.sin(y / (20 + c) + x / 15) for c in range(3)]
    smooth = Image.fromarray(np.stack(waves, -1).astype(np.uint8))
    stock = Qwen2VLImageProcessor(min_pixels=21168, max_pixels=21168)(smooth, return_tensors="pt")
    two_levels = 2 / 255 / 0.26  # one for each of the two passes, across and down
    assert np.abs(to_pixels(smooth) - stock["pixel_values"].numpy()).max() <= two_levels


def test_resizing_equals_the_stock_processor_that_uses_pillow():
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (384, 128, 3), dtype=np.uint8))
    stock = Qwen2VLImageProcessorPil(min_pixels=21168, max_pixels=21168)(noise, return_tensors="np")
    np.testing.assert_allclose(to_pixels(noise), stock["pixel_values"], atol=1e-5)


@pytest.mark.parametrize(
    "mode, size", [("RGB", (128, 384)), ("L", (1, 1)), ("RGBA", (500, 20)), ("CMYK", (84, 252))]
)
def test_any_picture_takes_the_same_place(mode, size):
    assert to_pixels(Image.new(mode, size)).shape == (108, 1176)


def test_batched_tower_equals_the_stock_tower(model, picture):
    patches = patchify(torch.from_numpy(np.stack([to_array(picture(n)) for n in range(3)])))
    with torch.no_grad():
        grid = torch.tensor([[1, 18, 6]] * 3)
        stock = model.model.visual(patches.flatten(0, 1), grid_thw=grid).pooler_output.view(3, 27, -1)
        ours = vision_tokens(model, patches)
    assert stock.abs().max() > 0.1
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-5)


def test_gradients_equal_the_stock_tower(model, picture):
    patches = patchify(torch.from_numpy(to_array(picture(4)).copy())[None])
    weight = model.model.visual.blocks[0].attn.qkv.weight
    (ours,) = torch.autograd.grad(vision_tokens(model, patches).square().sum(), weight)
    stock_out = model.model.visual(patches[0], grid_thw=torch.tensor([[1, 18, 6]])).pooler_output
    (stock,) = torch.autograd.grad(stock_out.square().sum(), weight)
    assert stock.abs().max() > 0
    torch.testing.assert_close(ours, stock, atol=1e-4 * float(stock.abs().max()), rtol=1e-3)
