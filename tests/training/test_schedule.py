from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.training.schedule import default_warmup, lr_factor


@pytest.mark.parametrize(
    ("epoch", "rate"),
    # Rates that IRRA's published scheduler gives for base 1e-5, 5 warm-up epochs of 60.
    [(0, 1e-6), (1, 2.8e-6), (2, 4.6e-6), (3, 6.4e-6), (4, 8.2e-6), (5, 1e-5), (6, 9.992e-6), (30, 5.712e-6)],
)
def test_published_rates(epoch: int, rate: float) -> None:
    assert 1e-5 * lr_factor(epoch, 60, default_warmup(60)) == pytest.approx(rate, rel=1e-4)


def test_the_last_published_rate() -> None:
    assert 1e-5 * lr_factor(59, 60, 5) == pytest.approx(8.154e-9, rel=1e-3)


@settings(deadline=None)
@given(epochs=st.integers(1, 200), moments=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_up_then_down_whatever_the_length(epochs: int, moments: list[float]) -> None:
    warmup = default_warmup(epochs)
    early, late = (lr_factor(warmup * m, epochs, warmup) for m in moments)
    assert 0.1 <= early <= late <= 1
    early, late = (lr_factor(warmup + (epochs - warmup) * m, epochs, warmup) for m in moments)
    assert 0 <= late <= early <= 1


def test_short_runs_warm_up_in_proportion_and_long_ones_as_published() -> None:
    assert default_warmup(12) == 1
    assert default_warmup(60) == default_warmup(120) == 5
    assert lr_factor(0, 10, 0) == 1
