"""Stop a run on this machine when Ctrl-C or SIGTERM asks for it.

KFP's local runner knows no such thing. A step that a signal ended has failed to it: it is tried again, and
the threads that run shards go on with the next one. Here what is at work is told to end, keeping what it has,
and nothing is started any more.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds that steps have to put away what is done, and then to be gone after they were killed.
PATIENCE, LAST = 20.0, 5.0


class Stopped(BaseException):
    """Instead of the outcome of a step. No Exception: KFP would take it for a failure and carry on."""


class Stopping:
    """Whether a run is to stop, and what is at work in it. `tell` gets a line for people."""

    def __init__(self, tell: Callable[[str], None] = lambda line: None) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._ends: list[Callable[[bool], None]] = []
        self._told = False
        # What a signal handler may put something into, whatever it interrupted. False: the block has ended.
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.asked = False

    def ask(self, *_: object) -> None:
        """Stop; asked again, without giving steps the time to keep what they have."""
        self.asked = True
        self._signals.put(True)

    def check(self) -> None:
        """Raises Stopped where nothing is to be started any more."""
        if self.asked:
            raise Stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals ask, for as long as the block runs.

        They interrupt nothing: the block ends because what it waits for ends.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # a job in the background of a script
                    before[number] = signal.signal(number, self.ask)
        watching = threading.Thread(target=self._watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            self._signals.put(False)
            watching.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def work(self, end: Callable[[bool], None]) -> Iterator[None]:
        """Something is at work while the block runs. `end` is called from another thread to end it, and with
        True to end it at once."""
        with self._lock:
            self._ends.append(end)
            if self._told:  # it was started just before the others were told
                end(False)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)

    def _watch(self) -> None:
        if self._over(None):
            return
        self._tell("interrupted: steps put away what they have (once more: they are killed)")
        self._end(False)
        if self._over(PATIENCE):
            return
        self._end(True)
        if self._over(LAST):
            return
        self._tell("steps do not end; left alone")
        os._exit(130)

    def _over(self, patience: float | None) -> bool:
        """Whether the block has ended; else somebody asked, or waited long enough."""
        try:
            return not self._signals.get(timeout=patience)
        except queue.Empty:
            return False

    def _end(self, at_once: bool) -> None:
        with self._lock:
            self._told = True
            for end in self._ends:
                end(at_once)
