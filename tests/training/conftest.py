from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ctgi.datasets.annotations import Sample
from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_encoder

COLOURS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 20, 220), "white": (240, 240, 240)}


@pytest.fixture
def samples(tmp_path: Path) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """24 training and 8 val pictures: two colours each, named by their captions; every identity twice."""
    pairs = [(upper, lower) for upper in COLOURS for lower in COLOURS]
    made = []
    for number in range(32):
        upper, lower = pairs[number // 2]
        pixels = np.zeros((48, 16, 3), np.uint8)
        pixels[:24], pixels[24:] = COLOURS[upper], COLOURS[lower]
        path = tmp_path / "pictures" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        captions = (f"a {upper} jacket and {lower} trousers", f"{lower} trousers")
        made.append(Sample(path, number // 2, captions if number % 3 == 0 else captions[:1]))
    val = [sample for sample in made if sample.identity % 4 == 1]
    return tuple(sample for sample in made if sample.identity % 4 != 1), tuple(val)


@pytest.fixture
def make_encoder() -> Callable[[], DualEncoder]:
    """The same tiny encoder at every call."""

    def make() -> DualEncoder:
        config: dict[str, Any] = {
            "embed_dim": 16,
            "vision_cfg": {
                "image_size": [384, 128],
                "patch_size": 32,
                "width": 16,
                "layers": 1,
                "head_width": 8,
            },
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        }
        torch.manual_seed(5)
        return load_encoder(config, None)

    return make
