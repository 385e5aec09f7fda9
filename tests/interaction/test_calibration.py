"""The similarity scale, against scipy-free independent fits and known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.interaction.calibration import Calibration, expected_calibration_error, fit_calibration


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-z))


def platt_by_gradient_descent(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Platt (1999), eq. 2 with his targets, minimised in the plainest way there is (float64)."""
    up, down = (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2)
    t = np.where(y, up, down)
    mean, spread = x.mean(), x.std()
    z, a, b = (x - mean) / spread, 0.0, 0.0
    for _ in range(20_000):
        p = sigmoid(a * z + b)
        a, b = a - np.mean((p - t) * z), b - np.mean(p - t)
    return a / spread, b - a * mean / spread


def test_the_fit_is_that_of_plain_gradient_descent() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0.4, 0.1, 300)
    y = rng.random(300) < sigmoid(14 * (x - 0.35))
    slope, intercept = platt_by_gradient_descent(x, y)
    fitted = fit_calibration(x, y)
    assert fitted.slope == pytest.approx(slope, rel=1e-6)
    assert fitted.intercept == pytest.approx(intercept, rel=1e-6)


def test_it_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.7, 50_000)
    y = rng.random(x.size) < sigmoid(12 * x - 5)
    fitted = fit_calibration(x, y)
    assert fitted.slope == pytest.approx(12, rel=0.03) and fitted.intercept == pytest.approx(-5, rel=0.03)
    assert fitted.ece < 0.02 < fitted.ece_before


@settings(deadline=None, max_examples=60)
@given(
    points=st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=20, max_size=60),
    cosines=st.lists(st.floats(-1, 1), min_size=2, max_size=8),
)
def test_it_is_a_probability_and_never_falls(points: list[tuple[float, bool]], cosines: list[float]) -> None:
    fitted = fit_calibration([x for x, _ in points], [y for _, y in points])
    assert fitted.slope >= 0 and math.isfinite(fitted.slope) and math.isfinite(fitted.intercept)
    values = [fitted(c) for c in sorted(cosines)]
    assert all(0.0 <= v <= 1.0 for v in values) and values == sorted(values)


def test_perfectly_parted_data_stay_finite() -> None:
    fitted = fit_calibration([0.2] * 30 + [0.6] * 30, [False] * 30 + [True] * 30)
    assert fitted(0.2) == pytest.approx(1 / 32, abs=1e-6) and fitted(0.6) == pytest.approx(31 / 32, abs=1e-6)


def test_a_falling_relation_becomes_the_base_rate() -> None:
    fitted = fit_calibration(np.linspace(0, 1, 40), np.arange(40) < 10)
    assert fitted.slope == 0.0 and fitted(0.1) == fitted(0.9) == pytest.approx(11 / 42)


def test_it_survives_release_json() -> None:
    import json

    fitted = fit_calibration(np.linspace(0, 1, 40), np.arange(40) > 12)
    assert Calibration.of(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    ("facts", "said"), [({"kind": "isotonic"}, "isotonic"), ({"kind": "logistic", "slope": 1}, "intercept")]
)
def test_a_release_it_cannot_read_is_named(facts: dict[str, object], said: str) -> None:
    with pytest.raises(CtgiError, match=said):
        Calibration.of(facts)


@pytest.mark.parametrize(
    ("top1", "right", "said"),
    [([0.5] * 19, [True] * 19, "19 val queries"), ([0.5] * 30, [True] * 29, "30 similarities and 29"),
     ([float("nan")] * 30, [True] * 30, "not a number")],
)  # fmt: skip
def test_data_that_cannot_be_fitted(top1: list[float], right: list[bool], said: str) -> None:
    with pytest.raises(CtgiError, match=said):
        fit_calibration(top1, right)


def test_calibration_error_by_hand() -> None:
    # Two bins of two: stated 0.1 and 0.3 (mean 0.2), right 0 of 2; stated 0.8 and 1.0 (mean 0.9), right 1 of
    # 2.
    ece = expected_calibration_error([0.1, 0.3, 0.8, 1.0], [False, False, True, False], bins=2)
    assert ece == pytest.approx((2 * 0.2 + 2 * 0.4) / 4)
