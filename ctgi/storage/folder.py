"""A store that is a folder: one file a key, so that anything can read it without this library."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from ctgi.errors import CtgiError
from ctgi.storage.atomic import atomic_file, sync_directory
from ctgi.storage.digest import CHUNK, checked
from ctgi.storage.store import AlreadyThere, Entry, NotThere, Progress, check_key

# The digest goes with the file in one rename. Where a file system has no extended attributes nothing is
# recorded; the manifests of releases name every digest anyway.
_ATTRIBUTE = "user.ctgi.sha256"


class FolderStore:
    """See `ctgi.storage.store.Store`."""

    def __init__(self, root: Path) -> None:
        """The folder is made with the first put."""
        self.root = root

    @property
    def url(self) -> str:
        return str(self.root)

    def put(
        self,
        key: str,
        source: Path | bytes,
        *,
        only_if_absent: bool = False,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        target = self._path(key)
        if only_if_absent and target.exists():
            raise self._taken(key)
        for attempt in range(5):
            try:
                return self._write(key, target, source, only_if_absent, sha256, progress)
            except CtgiError as error:
                # A folder that has just been emptied by `delete` went away under the new file.
                cause = error.__cause__
                gone = isinstance(cause, FileNotFoundError) and not isinstance(source, Path)
                if attempt == 4 or not gone:
                    raise

    def _write(
        self,
        key: str,
        target: Path,
        source: Path | bytes,
        only_if_absent: bool,
        sha256: str | None,
        progress: Progress | None,
    ) -> None:
        total = hashlib.sha256()
        whole = target
        if only_if_absent:
            whole = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.whole")
        try:
            with atomic_file(whole) as handle:
                for chunk in _pieces(source):
                    total.update(chunk)
                    handle.write(chunk)
                    if progress is not None:
                        progress(len(chunk))
                if sha256 is not None and total.hexdigest() != sha256:
                    raise CtgiError(f"{key}: its source changed while it was copied; start again")
                _record(handle.fileno(), total.hexdigest())
            if only_if_absent:
                # Unlike a rename, a hard link does not replace what is there.
                os.link(whole, target)
                sync_directory(target.parent)
        except FileExistsError as error:
            raise self._taken(key) from error
        except OSError as error:
            raise CtgiError(
                f"{target}: cannot be written ({error.strerror}); check rights and free space"
            ) from error
        finally:
            if only_if_absent:
                whole.unlink(missing_ok=True)

    def stat(self, key: str) -> Entry | None:
        return self._entry(key, self._path(key))

    def exists(self, key: str) -> bool:
        return self.stat(key) is not None

    def chunks(self, key: str, *, sha256: str | None = None) -> Iterator[bytes]:
        entry = self.stat(key)
        if entry is None:
            raise NotThere(
                f"{self.root}: nothing is kept under {key}; see what is there with `ctgi release list`"
            )
        path = self._path(key)
        yield from checked(_pieces(path), sha256 or entry.sha256, str(path))

    def read(self, key: str, *, sha256: str | None = None) -> bytes:
        return b"".join(self.chunks(key, sha256=sha256))

    def get(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        with atomic_file(path) as handle:
            for chunk in self.chunks(key, sha256=sha256):
                handle.write(chunk)
                if progress is not None:
                    progress(len(chunk))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        folder = self._path(prefix.removesuffix("/")) if prefix else self.root
        found = []
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if not name.startswith("."):
                    found.append((Path(parent) / name).relative_to(self.root).as_posix())
        for key in sorted(found):
            if (entry := self._entry(key, self.root / key)) is not None:
                yield entry

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CtgiError(f"{path}: cannot be deleted ({error.strerror}); check its rights") from error
        with contextlib.suppress(OSError):  # up to the first folder that still holds something
            for parent in path.relative_to(self.root).parents[:-1]:
                (self.root / parent).rmdir()

    def abandoned(self, older_than: timedelta) -> Iterator[tuple[str, Callable[[], None]]]:
        limit = time.time() - older_than.total_seconds()
        for path in self.root.rglob(".*"):
            try:
                old = path.is_file() and path.suffix in (".tmp", ".whole") and path.stat().st_mtime < limit
            except FileNotFoundError:  # finished meanwhile
                continue
            if old:
                yield path.relative_to(self.root).as_posix(), partial(path.unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _entry(self, key: str, path: Path) -> Entry | None:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CtgiError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
        if not path.is_file():
            return None
        return Entry(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), _recorded(path))

    def _taken(self, key: str) -> AlreadyThere:
        return AlreadyThere(f"{self.root}: {key} is taken; choose another name")


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    try:
        with source.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                yield chunk
    except OSError as error:
        raise CtgiError(
            f"{source}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error


def _record(descriptor: int, digest: str) -> None:
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, _ATTRIBUTE, digest.encode())


def _recorded(path: Path) -> str | None:
    if hasattr(os, "getxattr"):
        with contextlib.suppress(OSError):
            return os.getxattr(path, _ATTRIBUTE).decode()
    return None
