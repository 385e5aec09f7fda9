"""Isotonic regression: the best fit that never falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def isotonic(x: Numbers, y: Numbers, weight: Numbers) -> Numbers:
    """The non-decreasing function of x with the least weighted squared error to y, at each x, (N,).

    Equal x get equal values. Source: pool adjacent violators (Ayer et al., 1955); as a calibration of
    probabilities: Zadrozny and Elkan (KDD 2002).
    """
    values, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weight, len(values))
    mean = np.bincount(place, weight * y, len(values)) / mass
    blocks: list[tuple[float, float, int]] = []  # mean, mass, how many values
    for m, w in zip(mean.tolist(), mass.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] >= m:
            before, heavy, many = blocks.pop()
            m, w, count = (before * heavy + m * w) / (heavy + w), heavy + w, many + count
        blocks.append((m, w, count))
    fitted = np.repeat([block[0] for block in blocks], [block[2] for block in blocks])
    return fitted[place]
