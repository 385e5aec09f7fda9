"""How far a run is: a bar with the time left on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Counts steps on standard error; `done` of them were taken in earlier sittings."""

    def __init__(self, epochs: int, steps: int, done: int, shown: bool) -> None:
        self._epochs, self._total, self._done, self._first = epochs, epochs * steps, done, done
        self._start = time.monotonic()
        console = Console(stderr=True)
        self._print = console.print if shown else None
        self._bar = Bar(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("train", total=self._total, completed=done, losses="")

    def step(self, sums: Mapping[str, float], pairs: int) -> None:
        """One more step; `sums` are the epoch's loss sums over `pairs` pairs."""
        self._done += 1
        losses = " ".join(f"{name} {total / pairs:.3f}" for name, total in sums.items())
        self._bar.update(self._task, completed=self._done, losses=losses)

    def epoch(self, record: Mapping[str, Any], select: str) -> None:
        """An epoch has ended with this record."""
        if self._print is None:
            return
        losses = " ".join(f"{name} {value:.3f}" for name, value in record["losses"].items())
        pace = (time.monotonic() - self._start) / max(1, self._done - self._first)
        self._print(
            f"epoch {record['epoch']}/{self._epochs}: {losses}, "
            f"val {select} {record['metrics'][select]:.2f}, {pace * (self._total - self._done):.0f} s left",
            highlight=False,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
