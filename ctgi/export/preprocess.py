"""What a picture goes through before the image encoder, read from a release's `preprocess.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Preprocess:
    """Resize without regard to proportions, scale to 0..1, subtract `mean`, divide by `std` (per RGB
    channel).

    Bilinear with Pillow's own filter, which averages when it shrinks: the very numbers of torchvision's
    `Resize(antialias=True)` on a Pillow picture.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Preprocess:
        """From the content of `preprocess.json`.

        Raises:
            CtgiError: a field is missing or is none that this version can carry out.
        """
        try:
            if spec["resample"] != "bilinear":
                raise ValueError(f"resample {spec['resample']!r} is not bilinear")
            mean, std = (tuple(float(value) for value in spec[name]) for name in ("mean", "std"))
            if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
                raise ValueError("mean and std need three values each, std above zero")
            return cls(int(spec["height"]), int(spec["width"]), mean, std)
        except (KeyError, TypeError, ValueError) as error:
            raise CtgiError(f"preprocess.json: {error}; export the release again") from error

    def __call__(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Pictures of any mode and size to float32 (N, 3, height, width)."""
        out = np.empty((len(pictures), 3, self.height, self.width), dtype=np.float32)
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        for row, picture in zip(out, pictures, strict=True):
            resized = picture.convert("RGB").resize((self.width, self.height), Image.Resampling.BILINEAR)
            scaled = np.asarray(resized, dtype=np.float32) / np.float32(255)
            row[:] = ((scaled - mean) / std).transpose(2, 0, 1)
        return out
