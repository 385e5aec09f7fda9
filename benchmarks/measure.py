"""Timing two ways side by side, and what a measurement says."""

from __future__ import annotations

import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Attributes:
        name: what was measured.
        ours, plain: seconds, or whatever `unit` says; smaller is better.
        facts: what else belongs to it.
    """

    name: str
    ours: float
    plain: float
    unit: str = "s"
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """How many times better ours is."""
        return self.plain / self.ours

    def __str__(self) -> str:
        return (
            f"{self.name:<58} {self.ratio:6.2f} x   ours {self.ours:.4g} {self.unit}, "
            f"plain {self.plain:.4g} {self.unit}"
        )


def side_by_side(
    ours: Callable[[], object], plain: Callable[[], object], repeats: int = 5
) -> tuple[float, float]:
    """Median seconds of each, taken in turns so that a busy moment of the machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), plain()  # warm up
    for _ in range(repeats):
        for call, taken in zip((ours, plain), times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def peak_memory() -> int:
    """Bytes that this process has held in memory at the most.

    On Linux getrusage also counts what the parent held when it started this process: its status does not.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
