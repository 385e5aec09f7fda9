"""IRRA's picture augmentation on whole batches of uint8 tensors.

In this order, as published: mirror (p 0.5); 10 black pixels around, then a random crop of the old size;
normalise; erase a rectangle (p 0.5). The published code passes the erased value after normalisation, so the
rectangle is filled with CLIP's mean triple in normalised units, about +0.4, and not with the mean colour.

All chances are drawn first, into a plan that depends on the generator only; the pixels follow it. So the
picture work can run on another device or thread and still be the same for the same seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctgi.encoders.pixels import MEAN, STD

PADDING = 10
MIRROR, ERASE = 0.5, 0.5
AREA = (0.02, 0.4)
LOG_RATIO = (math.log(0.3), math.log(3.3))
ATTEMPTS = 10


@dataclass(frozen=True)
class Plan:
    """Per picture: mirrored or not, the crop's corner in the padded picture (y, x), and the erased rectangle
    (top, left, height, width), height 0 where nothing is erased."""

    mirror: NDArray[np.bool_]
    corner: NDArray[np.int64]
    erased: NDArray[np.int64]

    def part(self, rows: slice) -> Plan:
        """The plan of some of the pictures."""
        return Plan(self.mirror[rows], self.corner[rows], self.erased[rows])


def draw_plan(count: int, height: int, width: int, chance: np.random.Generator) -> Plan:
    """Draw the augmentation of `count` pictures."""
    mirror = chance.random(count) < MIRROR
    corner = chance.integers(0, 2 * PADDING + 1, size=(count, 2))
    erased = np.array([_rectangle(height, width, chance) for _ in range(count)], dtype=np.int64).reshape(
        count, 4
    )
    return Plan(mirror, corner, erased)


def no_plan(count: int) -> Plan:
    """The plan that changes nothing."""
    return Plan(np.zeros(count, bool), np.full((count, 2), PADDING), np.zeros((count, 4), np.int64))


def moved(pixels: NDArray[np.uint8], plan: Plan) -> NDArray[np.uint8]:
    """Mirror, pad and crop: uint8 (B, 3, H, W) to a new array of the same shape."""
    height, width = pixels.shape[-2:]
    result = np.zeros_like(pixels)
    for out, picture, mirror, (y, x) in zip(result, pixels, plan.mirror, plan.corner - PADDING, strict=True):
        source = picture[:, :, ::-1] if mirror else picture
        rows, columns = _overlap(int(y), height), _overlap(int(x), width)
        out[:, rows[1], columns[1]] = source[:, rows[0], columns[0]]
    return result


def finished(pixels: Tensor, plan: Plan) -> Tensor:
    """Normalise and erase: uint8 (B, 3, H, W) on any device to float32 of the same shape."""
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    result = pixels.float().div_(255).sub_(mean).div_(std)  # in place: memory is what this costs
    for picture, (top, left, height, width) in zip(result, plan.erased, strict=True):
        if height:
            picture[:, top : top + height, left : left + width] = mean
    return result


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where a window shifted by `shift` overlaps the picture: (in the picture, in the window)."""
    first = min(size, max(0, shift))
    last = max(first, min(size, size + shift))
    return slice(first, last), slice(first - shift, last - shift)


def _rectangle(height: int, width: int, chance: np.random.Generator) -> tuple[int, int, int, int]:
    """torchvision's RandomErasing: up to ten tries for a rectangle that fits, else none."""
    if chance.random() >= ERASE:
        return 0, 0, 0, 0
    for _ in range(ATTEMPTS):
        area = height * width * chance.uniform(*AREA)
        ratio = math.exp(chance.uniform(*LOG_RATIO))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < height and w < width:
            return int(chance.integers(0, height - h + 1)), int(chance.integers(0, width - w + 1)), h, w
    return 0, 0, 0, 0
