"""Writes that a kill -9 or a power cut leaves either whole or absent, never torn.

A file is written beside its target under a hidden temporary name, flushed to disk and renamed over the
target: `rename` within one directory is atomic on POSIX. A directory is built beside its target in the
same way; where the target exists already the two are exchanged in one system call if the platform has one
(Linux `renameat2`).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ctgi.errors import CtgiError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# Read once, at import: the only way to read the umask is to set it, which is not for many threads at once.
_UMASK = os.umask(0)
os.umask(_UMASK)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Replace the file at `path` by `data`, atomically. Parent directories are made."""
    with atomic_file(path) as handle:
        handle.write(data)


def write_text(path: Path | str, text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8, atomically.

    A file's name that is not UTF-8 has half a surrogate for each such byte. It is escaped (``\\udcff``),
    which in JSON is the very same text.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, value: Any) -> None:
    """Replace the file at `path` by `value` as readable JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The JSON value in the file at `path`.

    Raises:
        CtgiError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CtgiError(
            f"{path}: cannot be read as JSON ({reason}); make it again or name another file"
        ) from error


@contextmanager
def atomic_file(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a binary handle whose content becomes the file at `path` when the block ends without an exception.

    Raises:
        CtgiError: the directory cannot be written to, or the disk is full.
    """
    target = Path(path)
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(descriptor, "wb") as handle:
            os.chmod(temporary, _default_mode(0o666))
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        if temporary and os.path.lexists(temporary):
            os.unlink(temporary)


@contextmanager
def atomic_directory(path: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes `path` when the block ends without an exception.

    Args:
        path: the directory to publish.
        replace: whether a directory that is already there may be replaced: all that it holds is deleted, so
            that the caller has to know what that is (`ctgi.storage.replacing`).

    Raises:
        CtgiError: `path` exists and `replace` is false, or it is no directory; or the file system refuses.
    """
    target = Path(path)
    if os.path.lexists(target) and not replace:
        raise CtgiError(f"{target}: exists already; choose another path")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise CtgiError(f"{target}: exists already and is no folder; choose another path")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        raise _refusal(target, error) from error
    try:
        os.chmod(temporary, _default_mode(0o777))
        yield temporary
        _sync_tree(temporary)
        if os.path.lexists(target):
            _exchange(temporary, target)
        else:
            os.rename(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise _refusal(target, error) from error
    finally:
        # After an exchange the temporary name holds what was there before.
        shutil.rmtree(temporary, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make a rename in `path` durable, where the platform lets a directory be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse to sync a directory; the rename itself stands
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(parent))


def _exchange(new: Path, target: Path) -> None:
    """Swap two directories; without `renameat2` the target is absent for the instant between two renames."""
    if sys.platform == "linux":
        renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if renameat2 is not None and (
            renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0
        ):
            return
    aside = target.with_name(f".{target.name}.{os.getpid()}.old")
    os.rename(target, aside)
    os.rename(new, target)
    shutil.rmtree(aside, ignore_errors=True)


def _default_mode(mode: int) -> int:
    """What a plain `open` or `mkdir` would give; mkstemp's 0600 would hide a file from other users."""
    return mode & ~_UMASK


def _refusal(target: Path, error: OSError) -> CtgiError:
    return CtgiError(
        f"{target}: cannot be written ({error.strerror or error}); check the path, rights and free space"
    )
