"""One run at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctgi.errors import CtgiError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What a file system says that has no locks, as network file systems may be mounted."""


@contextmanager
def alone(folder: Path, flag: str) -> Iterator[None]:
    """Make the folder and hold its lock, which goes with the process, however that ends.

    `flag` is the option that names the folder. Where the file system has no locks a line says so, and nobody
    is kept out. Raises CtgiError where another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise CtgiError(f"{folder}: cannot be written ({error.strerror}); choose another {flag}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CtgiError(
                f"{folder}: another run is at work there; wait for it or choose another {flag}"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"{folder}: no locks on this file system; start no second run there", file=sys.stderr)
        yield
