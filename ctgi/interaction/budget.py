"""What one search may cost, and what it has cost so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


class BudgetSpent(Exception):
    """The limit that was reached: "deadline" or "max_calls". It never leaves this package."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass
class Budget:
    """Counts calls, tokens and seconds against the limits of a search; both limits may be None."""

    deadline: float | None
    max_calls: int | None
    clock: Callable[[], float] = time.perf_counter
    calls: int = 0
    cached: int = 0
    abandoned: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the search began."""
        return self.clock() - self._start

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - self.elapsed)

    def calls_left(self) -> int | None:
        """Calls left; None without a limit."""
        return None if self.max_calls is None else max(0, self.max_calls - self.calls)

    def take(self) -> None:
        """Count one call that is about to be made. Raises BudgetSpent when there is none left or no time."""
        if self.remaining() == 0.0:
            raise BudgetSpent("deadline")
        if self.calls_left() == 0:
            raise BudgetSpent("max_calls")
        self.calls += 1

    def spent(self, stage: str, start: float) -> None:
        """Add the seconds since `start` (of the same clock) to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + self.clock() - start
