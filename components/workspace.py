"""Where half-done work lives between the tries of a step: a folder that all pods mount, or an object store.

A folder (a PVC, or one on this machine) is written in place, so a kill loses nothing. An object store is
mirrored: what is there is fetched when a step begins, and what the step writes or removes is sent every few
seconds and when it ends; a kill loses what was done since the last round. In both, a second try of a step
waits for the first: by a lock in a folder, by a lease in an object store.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from components.lease import Lease, Lost, hasty
from ctgi.errors import CtgiError
from ctgi.storage.alone import NO_LOCKS
from ctgi.storage.atomic import write_bytes

#: Seconds between two rounds of sending: what a kill can cost where the workspace is an object store.
EVERY = 2.0
#: Files that say which others count (a gallery's, a training run's). They are sent after those, of the same
#: moment: whenever a kill comes, what they name is in the store, as old as they are or newer.
HEADS = ("manifest.json", "last.safetensors")
#: What is of no use elsewhere: a database's log (its copy has it), half-written files, pixels decoded here.
NOT_SENT = ("-wal", "-shm", ".tmp", ".pixels")
#: Of a file: its number on this disk, when it was written (ns), its size (bytes).
State = tuple[int, int, int]


def is_remote(place: str) -> bool:
    """Whether a place is an object store's."""
    return place.startswith("s3://")


class Workspace:
    """The workspace at `url`: an absolute path, or `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        if not is_remote(url) and not url.startswith("/"):
            raise CtgiError(f"workspace {url!r}: give an absolute path that every step sees, or s3://…")
        self.url = url.rstrip("/")

    @contextmanager
    def folder(
        self, name: str, wanted: Iterable[str] | None = None, *, shared: bool = False
    ) -> Iterator[Path]:
        """The folder `name` for as long as the block runs, for this process alone unless it is `shared`.

        An earlier try of the same step may still be at work, when only what started it was killed; then this
        one waits for it. With an object store only `wanted` files of the folder are fetched (all, by
        default), and whatever is written there is sent. What is put into a shared folder has to be whole file
        by file, and as good whichever of two processes wrote it.
        """
        if not is_remote(self.url):
            here = Path(self.url, name)
            try:
                here.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CtgiError(
                    f"workspace {self.url}: cannot be written ({error.strerror}); mount one that can"
                ) from error
            with contextlib.nullcontext() if shared else _alone(here):
                yield here
            return
        with (
            contextlib.nullcontext() if shared else Lease(self.url, name).held() as lease,
            tempfile.TemporaryDirectory(prefix="ctgi-work-") as temporary,
        ):
            here = Path(temporary, "files")
            here.mkdir()
            mirror = _Mirror(_store(f"{self.url}/{name}"), here, lease)
            mirror.fetch(wanted)
            with mirror.sending():
                yield here

    def read(self, name: str) -> bytes | None:
        """One file, or None where there is none."""
        if is_remote(self.url):
            store = _store(self.url)
            return bytes(store.read(name)) if store.exists(name) else None
        path = Path(self.url, name)
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """One file, whole or not at all."""
        if is_remote(self.url):
            _store(self.url).put(name, data)
        else:
            write_bytes(Path(self.url, name), data)

    def remove(self, name: str) -> None:
        """Let go of one file; not being there is no error."""
        if is_remote(self.url):
            _store(self.url).delete(name)
        else:
            Path(self.url, name).unlink(missing_ok=True)


class _Mirror:
    """A local folder and its copy in an object store, which changes only while the lease is held."""

    def __init__(self, store: Any, folder: Path, lease: Lease | None = None) -> None:
        self.store, self.folder, self._lease = store, folder, lease
        self._there = store if lease is None else hasty(store.url)
        self._sent: dict[str, State] = {}

    def fetch(self, wanted: Iterable[str] | None) -> None:
        from ctgi.storage.store import NotThere

        names = [entry.key for entry in self.store.list()] if wanted is None else list(wanted)
        for name in names:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(NotThere):
                self.store.get(name, target)
                self._sent[name] = _state(target)

    @contextmanager
    def sending(self) -> Iterator[None]:
        stop = threading.Event()

        def rounds() -> None:
            while not stop.wait(EVERY):
                try:
                    self.send()
                except Lost as error:
                    print(error, file=sys.stderr, flush=True)
                    _end_step()
                    return
                except Exception as error:  # the last round, at the end, tells the step if it persists
                    print(f"workspace {self.store.url}: {error}; tried again", file=sys.stderr, flush=True)

        thread = threading.Thread(target=rounds, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._send_all()

    def _send_all(self) -> None:
        """The last round; under a lease each request has little patience, and the round has the store's."""
        from ctgi.storage.s3_settings import read_settings

        end = time.monotonic() + (0 if self._lease is None else read_settings().patience)
        while True:
            try:
                if self._lease is not None:
                    self._lease.renew()
                return self.send()
            except CtgiError as error:
                if isinstance(error, Lost) or time.monotonic() > end:
                    raise
            time.sleep(EVERY)

    def send(self) -> None:
        """Send what has changed, and remove there what is gone here."""
        self._may()
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as scratch:
            seen = self._look()
            taken = self._take(seen, Path(scratch, "taken"))
            # Where the step has put files in place meanwhile, what was taken is of no one moment, and a head
            # may name what is not in it: the next round sends one.
            settled = _in_place(self._look()) == _in_place(seen)
            for name in sorted(taken, key=_is_head):
                if settled or not _is_head(name):
                    path = taken[name]
                    copied = path.suffix == ".sqlite"
                    self._put(name, _snapshot(path, Path(scratch, "copy")) if copied else path)
                    self._sent[name] = seen[name]
            for name in (self._sent.keys() - seen.keys()) if settled else ():
                if not (self.folder / name).exists():
                    self._may()
                    self._there.delete(name)
                    del self._sent[name]

    def _put(self, name: str, path: Path) -> None:
        self._may()
        if self._lease is None:
            self._there.put(name, path)
        else:  # a large one is many requests
            self._there.put(name, path, progress=lambda _: self._may())

    def _may(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _look(self) -> dict[str, State]:
        """The files there are, and their states; not those that are being written."""
        found = {}
        for parent, folders, files in os.walk(self.folder):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            for file in files:
                if not file.startswith(".") and not file.endswith(NOT_SENT):
                    path = Path(parent, file)
                    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                        found[path.relative_to(self.folder).as_posix()] = _state(path)
        return found

    def _take(self, seen: dict[str, State], into: Path) -> dict[str, Path]:
        """Of the files seen those that have changed, as links, whose content stays when the step puts another
        file in their place; a database, which is never replaced, as it is."""
        taken = {}
        for name in [name for name, state in seen.items() if self._sent.get(name) != state]:
            path, link = self.folder / name, into / name
            if path.suffix == ".sqlite":
                taken[name] = path
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.link(path, link)
                taken[name] = link
        return taken


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it goes with the process, however that ends.

    It is another one than that of `ctgi.storage.alone`, which a command takes that this step runs in there.
    """
    with (folder / ".step.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: an earlier try is at work there; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def _end_step() -> None:
    """As an eviction does, where a step listens to one (`components.step`): its work is in vain."""
    if callable(signal.getsignal(signal.SIGTERM)):
        # To that thread, so that what it waits in is interrupted.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _is_head(name: str) -> bool:
    return name.rpartition("/")[2] in HEADS


def _in_place(seen: dict[str, State]) -> dict[str, object]:
    """What stays the same until a file is put in another's place, added or removed; files may grow."""
    return {name: state if _is_head(name) else state[0] for name, state in seen.items()}


def _state(path: Path) -> State:
    """Changes when the file does; a database is also changed by the log beside it."""
    parts = [path.stat()]
    with contextlib.suppress(FileNotFoundError):
        parts.append(path.with_name(f"{path.name}-wal").stat())
    return (
        parts[0].st_ino,
        max(part.st_mtime_ns for part in parts),
        sum(part.st_size for part in parts),
    )


def _snapshot(database: Path, copy: Path) -> Path:
    """A consistent copy of a database that is in use."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _store(url: str) -> Any:
    from ctgi.storage.opening import open_store

    return open_store(url)
