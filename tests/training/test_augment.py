from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.encoders.pixels import MEAN, STD
from ctgi.training.augment import PADDING, Plan, draw_plan, finished, moved, no_plan


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_moving_is_mirror_pad_crop(seed: int, height: int, width: int) -> None:
    chance = np.random.default_rng(seed)
    pixels = chance.integers(1, 256, (3, 3, height, width), np.uint8)
    plan = draw_plan(3, height, width, chance)
    for got, picture, mirror, (y, x) in zip(
        moved(pixels, plan), pixels, plan.mirror, plan.corner, strict=True
    ):
        padded = np.pad(picture[:, :, ::-1] if mirror else picture, ((0, 0), (PADDING,) * 2, (PADDING,) * 2))
        np.testing.assert_array_equal(got, padded[:, y : y + height, x : x + width])


def test_the_chances_are_the_published_ones() -> None:
    plan = draw_plan(4000, 384, 128, np.random.default_rng(0))
    assert abs(plan.mirror.mean() - 0.5) < 0.03
    assert set(np.unique(plan.corner)) == set(range(21))
    top, left, height, width = plan.erased.T
    erased = height > 0
    assert abs(erased.mean() - 0.5) < 0.03
    area = (height * width)[erased] / (384 * 128)
    ratio = (height / np.maximum(width, 1))[erased]
    # Areas from 0.02 to 0.4, ratios from 0.3 to 3.3; rounding to whole pixels moves both a little past that.
    assert 0.019 < area.min() < 0.021 and 0.39 < area.max() < 0.41
    assert 0.29 < ratio.min() < 0.31 and 3.2 < ratio.max() < 3.4
    assert ((top + height)[erased] <= 384).all() and ((left + width)[erased] <= 128).all()
    assert (top >= 0).all() and (left >= 0).all()
    # The logarithm of the ratio is spread evenly; large flat rectangles alone do not fit a tall picture.
    assert np.log(ratio[area < 0.05]).std() > 0.5


def test_erased_pixels_hold_the_mean_triple_after_normalisation() -> None:
    white = torch.full((1, 3, 6, 4), 255, dtype=torch.uint8)
    plan = Plan(np.zeros(1, bool), np.full((1, 2), PADDING), np.array([[1, 2, 3, 2]]))
    got = finished(white, plan)
    inside = torch.zeros(6, 4, dtype=torch.bool)
    inside[1:4, 2:4] = True
    for channel in range(3):
        torch.testing.assert_close(got[0, channel][inside], torch.full((6,), MEAN[channel]))
        untouched = (1 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(got[0, channel][~inside], torch.full((18,), untouched))


def test_the_empty_plan_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 30, 20), np.uint8)
    np.testing.assert_array_equal(moved(pixels, no_plan(2)), pixels)
