from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctgi.encoders.grid import resize_grid


def bilinear(grid: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear sampling at pixel centres with clamped borders, align_corners=False; from its definition."""
    result = np.zeros((height, width, grid.shape[2]))
    for y in range(height):
        for x in range(width):
            v = max((y + 0.5) * grid.shape[0] / height - 0.5, 0.0)
            u = max((x + 0.5) * grid.shape[1] / width - 0.5, 0.0)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, grid.shape[0] - 1), min(left + 1, grid.shape[1] - 1)
            upper = (1 - (u - left)) * grid[top, left] + (u - left) * grid[top, right]
            lower = (1 - (u - left)) * grid[bottom, left] + (u - left) * grid[bottom, right]
            result[y, x] = (1 - (v - top)) * upper + (v - top) * lower
    return result


def test_clips_square_grid_becomes_a_tall_one() -> None:
    table = np.random.default_rng(0).normal(size=(1 + 14 * 14, 5))
    got = resize_grid(torch.from_numpy(table), (14, 14), (24, 8)).numpy()
    assert got.shape == (193, 5)
    np.testing.assert_array_equal(got[0], table[0])
    expected = bilinear(table[1:].reshape(14, 14, 5), 24, 8).reshape(192, 5)
    np.testing.assert_allclose(got[1:], expected, rtol=0, atol=1e-12)


def test_the_same_grid_is_left_alone() -> None:
    table = torch.randn(193, 3)
    assert torch.equal(resize_grid(table, (24, 8), (24, 8)), table)


def test_a_table_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="197 positions are not"):
        resize_grid(torch.zeros(197, 3), (24, 8), (24, 8))
