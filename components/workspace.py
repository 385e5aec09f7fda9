"""Where half-done work lives between the tries of a step: a folder that all pods mount, or an object store.

A folder (a PVC, or one on this machine) is written in place, so a kill loses nothing. An object store is
mirrored: what is there is fetched when a step begins, and what the step writes is sent every few seconds and
when it ends; a kill loses what was written since the last round.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_bytes

#: Seconds between two rounds of sending: what a kill can cost where the workspace is an object store.
EVERY = 2.0


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
        default), and whatever is written there is sent.
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
        with tempfile.TemporaryDirectory(prefix="ctgi-work-") as temporary:
            mirror = _Mirror(f"{self.url}/{name}", Path(temporary))
            mirror.fetch(wanted)
            with mirror.sending():
                yield Path(temporary)

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
    """A local folder and its copy in an object store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.store = url, folder, _store(url)
        self._sent: dict[str, tuple[int, int]] = {}

    def fetch(self, wanted: Iterable[str] | None) -> None:
        names = [entry.key for entry in self.store.list()] if wanted is None else list(wanted)
        for name in names:
            if wanted is None or self.store.exists(name):
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self.store.get(name, target)
                self._sent[name] = _state(target)

    @contextmanager
    def sending(self) -> Iterator[None]:
        stop = threading.Event()

        def rounds() -> None:
            while not stop.wait(EVERY):
                try:
                    self.send()
                except Exception as error:  # the last round, at the end, tells the step if it persists
                    print(f"workspace {self.url}: {error}; tried again", file=sys.stderr, flush=True)

        thread = threading.Thread(target=rounds, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.send()

    def send(self) -> None:
        """Send what has changed; files that are being written are hidden and left alone. A manifest goes
        last, so that what it names is there."""
        changed: list[tuple[str, Path, tuple[int, int]]] = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if any(part.startswith(".") for part in Path(name).parts) or name.endswith(("-wal", "-shm")):
                continue
            if path.is_file() and self._sent.get(name) != (state := _state(path)):
                changed.append((name, path, state))
        for name, path, state in sorted(changed, key=lambda item: item[0].endswith("manifest.json")):
            try:
                if path.suffix == ".sqlite":
                    with tempfile.TemporaryDirectory() as temporary:
                        self.store.put(name, _snapshot(path, Path(temporary, "copy")))
                else:
                    self.store.put(name, path)
            except FileNotFoundError:
                continue  # replaced or removed since it was listed; the next round sees
            self._sent[name] = state


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it goes with the process, however that ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: an earlier try is at work there; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system that has no locks
                raise
        yield


def _state(path: Path) -> tuple[int, int]:
    """Changes when the file does; a database is also changed by the log beside it."""
    log = path.with_name(f"{path.name}-wal")
    parts = [part.stat() for part in (path, log) if part.exists()]
    return max(part.st_mtime_ns for part in parts), sum(part.st_size for part in parts)


def _snapshot(database: Path, copy: Path) -> Path:
    """A consistent copy of a database that is in use."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _store(url: str) -> Any:
    from ctgi.storage.opening import open_store

    return open_store(url)
