"""What the image encoder is fed: the same numbers for training, evaluation and the exported release.

Only numpy and Pillow, so that search-time code may use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 384, 128
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess_spec() -> dict[str, Any]:
    """The pre-processing as data: picture to float32 (3, 384, 128) = (RGB / 255 - mean) / std."""
    return {"height": HEIGHT, "width": WIDTH, "resample": "bilinear", "mean": list(MEAN), "std": list(STD)}


def resized(picture: Image.Image) -> NDArray[np.uint8]:
    """An RGB picture as uint8 (3, 384, 128): resized without keeping its proportions, Pillow's bilinear."""
    picture = picture.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (..., 3, H, W) to float32 of the same shape, normalised per channel."""
    mean = np.asarray(MEAN, dtype=np.float32).reshape(3, 1, 1)
    std = np.asarray(STD, dtype=np.float32).reshape(3, 1, 1)
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std
