"""The scale on which ξ is read: from a raw cosine to the probability that the top candidate is right.

The paper stops early above 0.85 and does not say of what; a CLIP model's cosine between a caption and its
picture rarely comes near (docs/adr/0003). Here the threshold becomes a statement that can be checked: among
val queries whose top candidate scores like this one's, 85 of 100 were right at rank 1.

The curve is Platt's scaling (Platt 1999, with the Newton iteration of Lin, Lin and Weng 2007): two
parameters, monotone, and smoothed targets keep it finite where right and wrong can be parted. Fit it on val,
never on test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctgi.errors import CtgiError

FEWEST_QUERIES = 20


@dataclass(frozen=True)
class Calibration:
    """P(top-1 is right | its cosine) = 1 / (1 + exp(-(slope·cosine + intercept))), slope >= 0."""

    slope: float
    intercept: float
    queries: int
    """Val queries it was fitted on."""
    ece_before: float
    """Expected calibration error of the raw cosine read as a probability."""
    ece: float
    """The same of the calibrated value, on the queries it was fitted on."""

    def __call__(self, cosine: float) -> float:
        """The calibrated value, between 0 and 1."""
        z = self.slope * cosine + self.intercept
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))

    def to_dict(self) -> dict[str, Any]:
        """As it is kept under mti.calibration in release.json."""
        return {"kind": "logistic", "of": "cosine of the top candidate", "fitted_on": "val", **asdict(self)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Calibration:
        """From what `to_dict` wrote. Raises CtgiError where it is another kind or incomplete."""
        if facts.get("kind") != "logistic":
            raise CtgiError(
                f"the release's calibration is of kind {facts.get('kind')!r}; this version reads logistic"
            )
        try:
            return cls(
                slope=float(facts["slope"]),
                intercept=float(facts["intercept"]),
                queries=int(facts["queries"]),
                ece_before=float(facts["ece_before"]),
                ece=float(facts["ece"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CtgiError(
                f"the release's calibration lacks a figure ({error}); export the release again"
            ) from error


def fit_calibration(top1: ArrayLike, right: ArrayLike) -> Calibration:
    """Fit the curve on val: `top1` (Q,) cosines of each query's top candidate, `right` (Q,) whether it was
    right.

    Raises CtgiError for fewer than 20 queries, unequal lengths or a cosine that is no number.
    """
    x = np.asarray(top1, dtype=np.float64).ravel()
    y = np.asarray(right, dtype=bool).ravel()
    if x.size != y.size:
        raise CtgiError(
            f"calibration got {x.size} similarities and {y.size} verdicts; give one of each per query"
        )
    if x.size < FEWEST_QUERIES:
        raise CtgiError(
            f"calibration got {x.size} val queries; it needs {FEWEST_QUERIES} at least, or use scale: cosine"
        )
    if not np.isfinite(x).all():
        raise CtgiError("calibration got a similarity that is not a number; check the encoder's output")
    slope, intercept = _platt(x, y)
    if slope < 0:  # a higher cosine must never mean less trust: fall back to the base rate
        rate = (y.sum() + 1.0) / (y.size + 2.0)
        slope, intercept = 0.0, math.log(rate / (1.0 - rate))
    z = np.clip(slope * x + intercept, -700.0, 700.0)
    return Calibration(
        slope=slope,
        intercept=intercept,
        queries=int(x.size),
        ece_before=expected_calibration_error(np.clip(x, 0.0, 1.0), y),
        ece=expected_calibration_error(1.0 / (1.0 + np.exp(-z)), y),
    )


def _platt(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the logistic curve with Platt's smoothed targets, by damped Newton steps."""
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([(x - mean) / spread, np.ones_like(x)], axis=1)
    positives, negatives = float(y.sum()), float((~y).sum())
    target = np.where(y, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))

    def loss(w: NDArray[np.float64]) -> float:
        z = design @ w
        return float(np.sum(np.logaddexp(0.0, z) - target * z))

    w = np.array([0.0, math.log((positives + 1.0) / (negatives + 1.0))])
    current = loss(w)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ w, -700.0, 700.0)))
        gradient = design.T @ (p - target)
        hessian = design.T @ (design * (p * (1.0 - p))[:, None]) + 1e-12 * np.eye(2)
        if np.abs(gradient).max() < 1e-9:
            break
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10 and loss(w - size * step) > current:
            size /= 2.0
        w = w - size * step
        current = loss(w)
    slope = float(w[0]) / spread
    return slope, float(w[1]) - slope * mean


def expected_calibration_error(probability: ArrayLike, right: ArrayLike, bins: int = 10) -> float:
    """Mean gap between stated probability and share of right ones, over bins of equal count."""
    p = np.asarray(probability, dtype=np.float64).ravel()
    y = np.asarray(right, dtype=np.float64).ravel()
    order = np.argsort(p, kind="stable")
    gap = 0.0
    for part in np.array_split(order, min(bins, p.size)):
        gap += abs(float(p[part].mean()) - float(y[part].mean())) * part.size
    return gap / p.size
