"""How far a captioning run is: counted by the run, shown by whoever wants to."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Progress:
    """Counts of one run. ``calls`` were answered by the server in this run, ``cached`` came from disk.

    ``unanswered`` are the skipped pictures whose fault it was not: the server was overloaded or too slow.
    ``warm_up`` pictures have to be captioned before they tell a pace: those that began together took the
    whole time since the start each.
    """

    total: int
    captioned: int = 0
    resumed: int = 0
    skipped: int = 0
    unanswered: int = 0
    duplicates: int = 0
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    warm_up: int = 5
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Pictures that need nothing more."""
        return self.captioned + self.resumed + self.skipped + self.duplicates

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def pictures_per_second(self) -> float:
        """Pictures captioned in this run, by time; resumed ones are not counted."""
        return self.captioned / self.elapsed

    @property
    def calls_per_second(self) -> float:
        """Calls the server answered in this run, by time."""
        return self.calls / self.elapsed

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the pace so far, None while too few pictures tell it."""
        if self.done >= self.total:
            return 0.0
        if self.captioned < max(1, self.warm_up):
            return None
        return (self.total - self.done) / self.pictures_per_second

    def line(self) -> str:
        """One line for people."""
        eta = "--" if self.eta is None else duration(self.eta)
        parts = [
            f"{self.done}/{self.total} pictures",
            f"{self.pictures_per_second:.2f} pictures/s",
            f"{self.calls_per_second:.1f} calls/s",
            f"{self.prompt_tokens + self.completion_tokens:,} tokens",
            f"ETA {eta}",
        ]
        for count, name in ((self.resumed, "already done"), (self.skipped, "skipped")):
            if count:
                parts.append(f"{count} {name}")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """``1:02:03``, ``2:03`` or ``0:03``."""
    whole = int(seconds + 0.5)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """Shows progress on a stream: one line rewritten on a terminal, one line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._every = 0.2 if self._terminal else 10.0
        self._shown = 0.0 if self._terminal else time.monotonic()
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        finished = progress.done >= progress.total
        now = time.monotonic()
        if not finished and now - self._shown < self._every:
            return
        self._shown = now
        line = progress.line()
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width) + ("\n" if finished else ""))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
