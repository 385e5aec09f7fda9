"""MTI's parameters: the paper's values stand, and what makes no sense is refused by name."""

from __future__ import annotations

import pytest

from ctgi.errors import CtgiError
from ctgi.interaction.budget import Budget, BudgetSpent
from ctgi.interaction.config import MTIConfig


def test_the_papers_values() -> None:
    config = MTIConfig()
    assert (config.k, config.xi, config.scale) == (20, 0.85, "calibrated")


@pytest.mark.parametrize(
    "values",
    [{"k": 0}, {"k": True}, {"wave": -1}, {"lam": 1.5}, {"scale": "dot"}, {"deadline": 0}, {"max_calls": -1},
     {"depth": 2.5}],
)  # fmt: skip
def test_values_out_of_range_are_named(values: dict[str, object]) -> None:
    with pytest.raises(CtgiError, match=f"MTI's {next(iter(values))}"):
        MTIConfig.of(values)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(CtgiError, match="lambda"):
        MTIConfig.of({"lambda": 0.5})


def test_the_budget_counts_down() -> None:
    now = [0.0]
    budget = Budget(deadline=2.0, max_calls=2, clock=lambda: now[0])
    budget.take()
    now[0] = 1.5
    budget.take()
    assert budget.remaining() == pytest.approx(0.5) and budget.calls_left() == 0
    with pytest.raises(BudgetSpent, match="max_calls"):
        budget.take()
    now[0] = 2.5
    with pytest.raises(BudgetSpent, match="deadline"):
        budget.take()
    assert budget.calls == 2 and budget.remaining() == 0.0


def test_without_limits_nothing_is_refused() -> None:
    budget = Budget(deadline=None, max_calls=None)
    for _ in range(100):
        budget.take()
    assert budget.remaining() is None and budget.calls_left() is None
