from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from ctgi.encoders.pixels import MEAN, STD, normalised, preprocess_spec, resized
from ctgi.training.augment import finished, no_plan


def test_it_equals_torchvisions_test_transform() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 90, 3), np.uint8))
    transform = v2.Compose(
        [
            v2.Resize((384, 128)),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    got = normalised(resized(picture))
    assert got.shape == (3, 384, 128) and got.dtype == np.float32
    np.testing.assert_allclose(got, transform(picture).numpy(), rtol=0, atol=1e-6)


def test_training_normalises_as_search_does() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 384, 128), np.uint8)
    np.testing.assert_allclose(
        finished(torch.from_numpy(pixels), no_plan(2)).numpy(), normalised(pixels), rtol=0, atol=1e-6
    )


def test_white_is_one_before_normalisation() -> None:
    white = normalised(np.full((3, 2, 2), 255, np.uint8))
    np.testing.assert_allclose(white[:, 0, 0], (1 - np.array(MEAN)) / np.array(STD), rtol=1e-6)


def test_the_specification_names_the_same_numbers() -> None:
    spec = preprocess_spec()
    assert (spec["height"], spec["width"], spec["mean"], spec["std"]) == (384, 128, list(MEAN), list(STD))
