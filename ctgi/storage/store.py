"""One interface to where releases are kept: a folder of this machine or a bucket that speaks S3.

A store maps keys ("rstpreid/7/release.json") to bytes. A reader sees the whole of what was put under a key
or nothing; every read is checked against the SHA-256 that was recorded with the write.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from ctgi.errors import CtgiError

Progress = Callable[[int], None]
# No part starts with a dot (no "..", and hidden names are free for half-written files), none is empty.
KEY = re.compile(r"(?![.])[^/\\\x00-\x1f\x7f]+(/(?![.])[^/\\\x00-\x1f\x7f]+)*")
# The longest key of S3 is 1024 bytes and the prefix of the URL counts, too.
_KEY_BYTES = 900


class NotThere(CtgiError):
    """Nothing is kept under this key."""


class AlreadyThere(CtgiError):
    """A conditional put found the key taken."""


class Damaged(CtgiError):
    """What is kept under a key is not what was put there."""


class BadKey(CtgiError):
    """Nothing can be kept under such a name."""


@dataclass(frozen=True)
class Entry:
    """What a store says of a key.

    Attributes:
        size: bytes.
        modified: by the store's clock, with time zone.
        sha256: of the content, in hex, as recorded with the write; None where the store keeps no such record
            (a list of an S3 bucket, a file that something else put into the folder).
    """

    key: str
    size: int
    modified: datetime
    sha256: str | None = None


class Store(Protocol):
    """Where things are kept. All methods raise CtgiError where the store cannot be reached or refuses."""

    @property
    def url(self) -> str:
        """The URL it was opened by, without secrets."""

    def put(
        self,
        key: str,
        source: Path | bytes,
        *,
        only_if_absent: bool = False,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Keep `source` under `key`; whoever reads meanwhile has the old content or the new.

        Args:
            only_if_absent: refuse if the key is taken; of any number of racers exactly one succeeds.
            sha256: of the source in hex, if known; else it is computed.
            progress: is called with the number of bytes whenever some were sent.

        Raises:
            AlreadyThere: `only_if_absent`, and the key is taken.
        """

    def stat(self, key: str) -> Entry | None:
        """What is known of `key`, or None if nothing is there."""

    def exists(self, key: str) -> bool:
        """Whether anything is kept under `key`."""

    def chunks(self, key: str, *, sha256: str | None = None) -> Iterator[bytes]:
        """The content in pieces; the digest is compared after the last one.

        Args:
            sha256: what the content must be; else what was recorded with the write, if anything.

        Raises:
            NotThere, Damaged
        """

    def read(self, key: str, *, sha256: str | None = None) -> bytes:
        """The content at once; see `chunks`."""

    def get(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        """Put the content into the file at `path`, whole or not at all.

        What an interrupted call has brought already is kept beside it and not asked for again.

        Raises:
            NotThere, Damaged
        """

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every entry whose key starts with `prefix`, sorted by key. "" or a prefix that ends with "/".

        Hidden ones, a part of whose name starts with a dot, are not the store's and are left out.
        """

    def delete(self, key: str) -> None:
        """Let go of `key`; not being there is no error."""

    def abandoned(self, older_than: timedelta) -> Iterator[tuple[str, Callable[[], None]]]:
        """What killed writers left half-written and nobody touched for so long: a name, and its removal."""


#: Where `check_store` tries; what a kill leaves there is swept by `ctgi.storage.collect`.
CHECKS = "check"


def check_key(key: str) -> str:
    """`key` itself.

    Raises:
        BadKey: it is empty, too long, or has a part that is empty, starts with a dot or could leave the
            store.
    """
    if len(key.encode("utf-8", "surrogatepass")) > _KEY_BYTES or not KEY.fullmatch(key):
        raise BadKey(
            f"{key[:100]!r}: not a key of a store; use names joined by '/', none of them starting with a dot"
        )
    return key


def check_store(store: Store) -> None:
    """Put, read, create conditionally and delete one small object, so that a job knows before it starts.

    Raises:
        CtgiError: one of them fails; or the store creates over what is there, as some S3 servers do that
            ignore `If-None-Match`: two writers could not be kept apart there.
    """
    key, content = f"{CHECKS}/{uuid.uuid4().hex}", b"written by a check of the store; may be deleted"
    try:
        store.put(key, content, only_if_absent=True)
        if store.read(key) != content:
            raise Damaged(f"{store.url}: gives back other bytes than were put; use another store")
        try:
            store.put(key, b"a second one", only_if_absent=True)
        except AlreadyThere:
            pass
        else:
            raise CtgiError(
                f"{store.url}: this server ignores conditional writes (If-None-Match), so two writers "
                "would overwrite each other; use one that honours them"
            )
    finally:
        store.delete(key)
    if store.exists(key):
        raise CtgiError(f"{store.url}: what was deleted is still there; give the key the right to delete")
