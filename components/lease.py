"""Who may write to a folder of an object store: one try of a step at a time, as a lock has it on a disk.

    leases/NAME/00000003    of the third holder, who puts something new there every BEAT seconds

The highest number holds. A lock goes with its process and an object does not: so whoever waits watches the
object, and once nothing has changed in it for LAPSE seconds creates the next number, under the condition that
nobody has. A holder that could not show for KEEPS seconds that it is alive writes no more, until it has shown
it and no higher number is there; once there is one it never writes again. Seconds are each machine's own:
no two clocks have to agree.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.digest import bytes_sha256
from ctgi.storage.store import AlreadyThere

BEAT, KEEPS, LAPSE = 5.0, 30.0, 90.0
#: What a holder puts last, so that the next one need not wait.
FREE = b"free"


class Lost(CtgiError):
    """Another try holds the folder now."""


class Lease:
    """The lease of the folder `name` of the workspace at `url`, an object store's."""

    def __init__(self, url: str, name: str) -> None:
        self._folder, self._place = f"{url}/{name}", f"leases/{name}"
        self._store, self._quick = _store(url), hasty(url)
        self._number, self._beats, self._me = 0, 0, uuid.uuid4().hex
        self._sure = 0.0  # until then nobody else writes, by the monotonic clock
        self._lost = False

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """Hold it while the block runs; before that, wait for whoever holds it."""
        self._take()
        stop = threading.Event()

        def beats() -> None:
            while not self._lost and not stop.wait(BEAT):
                with contextlib.suppress(Exception):  # `check` sees that none arrived
                    self._beat(self._quick)

        thread = threading.Thread(target=beats, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
            if not self._lost:
                with contextlib.suppress(CtgiError):  # then it lapses
                    self._quick.put(self._key(self._number), FREE)

    def check(self) -> None:
        """Raises Lost when another try holds the lease, CtgiError when it cannot be told whether one does."""
        if self._lost:
            raise Lost(
                f"{self._folder}: another try of this step has taken over, since nothing was heard of this "
                f"one for {LAPSE:g} s; see how that one ends, nothing more is kept of this one"
            )
        if time.monotonic() > self._sure:
            raise CtgiError(
                f"{self._folder}: the store was out of reach for {KEEPS:g} s, another try may be at work "
                "there; nothing is sent before that is known"
            )

    def renew(self) -> None:
        """Where it cannot be told, find out, with the store's own patience. Raises as `check`."""
        if not self._lost and time.monotonic() > self._sure:
            self._beat(self._store)
            if not self._lost and time.monotonic() > self._sure:
                self._beat(self._store)  # the first one waited out an outage
        self.check()

    def _take(self) -> None:
        seen, since, said = None, 0.0, False
        while True:
            now, number = time.monotonic(), self._highest()
            found = (number, self._state(number))
            if found != seen:
                seen, since = found, now
            free = number == 0 or found[1] == ("free",)
            if (free or now - since > LAPSE) and self._create(number + 1):
                if not free and self._state(number) != found[1]:
                    time.sleep(KEEPS)  # it came to life just then; by now it knows that it has lost
                    self._beat(self._store)
                for lower in self._numbers():
                    if lower < self._number:
                        self._store.delete(self._key(lower))
                return
            if not said:
                said = True
                print(
                    f"{self._folder}: an earlier try is at work there; waiting for it, or for {LAPSE:g} s "
                    "without a sign of life",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(BEAT / 2)

    def _create(self, number: int) -> bool:
        began = time.monotonic()
        try:
            self._store.put(self._key(number), self._sign(), only_if_absent=True)
        except AlreadyThere:
            return False
        if self._highest() > number:  # it had been created, left and removed while this process slept
            self._store.delete(self._key(number))
            return False
        self._number, self._sure = number, began + KEEPS
        return True

    def _beat(self, store: Any) -> None:
        began = time.monotonic()
        store.put(self._key(self._number), self._sign())
        if self._highest(store) > self._number:
            self._lost = True
        else:
            self._sure = began + KEEPS

    def _sign(self) -> bytes:
        self._beats += 1
        return f"{self._me} {self._beats}".encode()

    def _state(self, number: int) -> tuple[object, ...]:
        entry = self._store.stat(self._key(number)) if number else None
        if entry is None:
            return ()
        return ("free",) if entry.sha256 == bytes_sha256(FREE) else (entry.modified, entry.sha256)

    def _highest(self, store: Any = None) -> int:
        return max(self._numbers(store), default=0)

    def _numbers(self, store: Any = None) -> list[int]:
        names = [entry.key.rpartition("/")[2] for entry in (store or self._store).list(f"{self._place}/")]
        return [int(name) for name in names if name.isdigit()]

    def _key(self, number: int) -> str:
        return f"{self._place}/{number:08d}"


def hasty(url: str) -> Any:
    """The store at `url`; with so little patience that what is begun under a lease ends before it lapses."""
    return _store(url, (LAPSE - KEEPS) / 2.5)


def _store(url: str, patience: float | None = None) -> Any:
    from ctgi.storage.opening import open_store

    return open_store(url, patience)
