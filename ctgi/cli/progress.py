"""A progress line on standard error, for commands whose library part only counts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

#: So many have to be done before they tell a pace.
HANDFUL = 5


def counter(what: str, things: str) -> Callable[[int, int], None]:
    """A function of (done, all): a line that is rewritten on a terminal, one every ten seconds elsewhere."""
    terminal = sys.stderr.isatty()
    start = time.monotonic()
    shown = 0.0 if terminal else start

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < (0.2 if terminal else 10.0) and not (terminal and done == total):
            return
        shown = now
        pace = done / max(now - start, 1e-9)
        line = f"{what}: {done}/{total} {things}"
        if pace and (done >= HANDFUL or done == total):
            line += f", {pace:.1f}/s, {(total - done) / pace:.0f} s left"
        if terminal:
            print(f"\r{line:<70}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    return show
