"""A half-brought file beside its target, which the next call finds and continues."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ctgi.errors import CtgiError
from ctgi.storage.atomic import sync_directory
from ctgi.storage.store import Damaged


@contextmanager
def part_of(path: Path, content: str) -> Iterator[IO[bytes]]:
    """Open, for reading and appending, what is there of the file at `path` already.

    If the block ends without an exception the file becomes `path` in one rename. After an exception or a kill
    it stays for the next call, unless what came is damaged.

    Args:
        content: names what is being brought, so that two versions of it never mix.

    Raises:
        CtgiError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name[:100]}.{re.sub(r'[^0-9A-Za-z-]', '', content)[:80]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = _alone(part)
        keep = name == part
    except OSError as error:
        raise _refusal(path, error) from error
    with handle:
        try:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(name, path)
            sync_directory(path.parent)
            keep = True
        except Damaged:
            keep = False
            raise
        except OSError as error:
            raise _refusal(path, error) from error
        finally:
            if not keep:
                name.unlink(missing_ok=True)


def _alone(part: Path) -> tuple[IO[bytes], Path]:
    """The part with a lock on it, or, if another process has it, a new file of one's own."""
    handle = part.open("a+b")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The process that had the lock may have finished meanwhile: then this is no longer a part.
        if part.exists() and os.path.samestat(os.fstat(handle.fileno()), part.stat()):
            return handle, part
    except BlockingIOError:
        pass
    handle.close()
    own = part.with_name(f"{part.name}.{uuid.uuid4().hex}.part")
    return own.open("x+b"), own


def _refusal(path: Path, error: OSError) -> CtgiError:
    return CtgiError(f"{path}: cannot be written ({error.strerror or error}); check rights and free space")
