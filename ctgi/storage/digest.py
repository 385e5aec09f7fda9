"""SHA-256, the digest that everything is checked by."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ctgi.errors import CtgiError
from ctgi.storage.store import Damaged

CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """Of the file's content, in hex.

    Raises:
        CtgiError: the file cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise CtgiError(
            f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error


def files_sha256(paths: Sequence[Path]) -> list[str]:
    """Of several files at once, as many as there are processors.

    Raises:
        CtgiError: one cannot be read.
    """
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1) or 1) as pool:
        return list(pool.map(file_sha256, paths))


def bytes_sha256(data: bytes) -> str:
    """Of the bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


class Beside:
    """A SHA-256 that is computed in a thread of its own, beside what brings the chunks."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def update(self, chunk: bytes) -> None:
        """Take the next chunk; waits while many are waiting."""
        if len(self._waiting) == 16:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._total.update, chunk))

    def hexdigest(self) -> str:
        """Of all that was taken; nothing may follow."""
        self._thread.shutdown()
        return self._total.hexdigest()


def checked(chunks: Iterable[bytes], expected: str | None, name: str) -> Iterator[bytes]:
    """The chunks as they are; after the last one their digest is compared. None expects nothing.

    Raises:
        Damaged: the content is another one.
    """
    total = hashlib.sha256()
    for chunk in chunks:
        if expected is not None:
            total.update(chunk)
        yield chunk
    if expected is not None and (found := total.hexdigest()) != expected:
        raise damaged(name, found, expected)


def damaged(name: str, found: str, expected: str) -> Damaged:
    """The error for content that is not what was put."""
    return Damaged(
        f"{name}: its SHA-256 is {found[:12]}…, {expected[:12]}… was put there; the object is damaged, "
        "publish it again or use another version"
    )
