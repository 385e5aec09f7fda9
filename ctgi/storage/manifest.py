"""What a published release is: the one object whose appearance makes it visible."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.digest import bytes_sha256
from ctgi.storage.store import NotThere, Store

SCHEMA = "ctgi.manifest.v1"
MANIFESTS, DATA = "manifests", "releases"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A path from a store is data: it must not lead out of the folder that is being written.
_PATH = re.compile(r"(?![.])[^/\\\x00-\x1f\x7f]+(/(?![.])[^/\\\x00-\x1f\x7f]+)*")


@dataclass(frozen=True)
class Item:
    """One object to publish.

    Attributes:
        key: where it goes, below the release's own prefix.
        source: its content.
        path: where a fetched release folder has it; None if it belongs to the store's layout only.
        sha256: of the content, in hex.
    """

    key: str
    source: Path | bytes
    path: str | None
    sha256: str

    @classmethod
    def of(cls, key: str, source: bytes, path: str | None) -> Item:
        """Of bytes, which are digested."""
        return cls(key, source, path, bytes_sha256(source))


@dataclass(frozen=True)
class File:
    """One object that is published: see `Item`; `size` in bytes, `sha256` in hex."""

    key: str
    path: str | None
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifests/<name>/<version>.json` says.

    Attributes:
        prefix: where its objects are, ends without "/"; its end is taken from `content`, so that publishers
            of different content never write to the same keys.
        content: SHA-256 over the keys, paths and digests of the files, in hex.
        published: ISO 8601, UTC, by the publisher's clock.
        facts: what was known of it: fingerprint, metrics, who published it; never part of `content`.
    """

    name: str
    version: int
    prefix: str
    content: str
    published: str
    files: tuple[File, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """As JSON, readable."""
        content = {"schema": SCHEMA, **asdict(self)}
        return (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> Manifest:
        """Read what `encode` wrote.

        Raises:
            CtgiError: it is not a manifest, or has paths that lead elsewhere.
        """
        try:
            content = json.loads(data)
            if not isinstance(content, dict):
                raise ValueError("no mapping")
            if content.pop("schema") != SCHEMA:
                raise ValueError("another schema; use a newer version of ctgi")
            content["files"] = tuple(File(**file) for file in content["files"])
            manifest = cls(**content)
            for path in [
                manifest.prefix,
                *(p for f in manifest.files for p in (f.key, f.path) if p is not None),
            ]:
                if not _PATH.fullmatch(path):
                    raise ValueError(f"the path {path!r}")
            if manifest.content != content_of(manifest.files):
                raise ValueError("a content digest that is not that of its files")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CtgiError(
                f"{where}: not a release's manifest ({error}); delete it and publish the release again"
            ) from error
        return manifest


def content_of(files: tuple[File, ...]) -> str:
    """SHA-256 over keys, paths and digests, in hex."""
    lines = sorted(f"{file.key}\n{file.path or ''}\n{file.sha256}\n" for file in files)
    return bytes_sha256("".join(lines).encode())


def manifest_key(name: str, version: int) -> str:
    """Where the manifest of a version is."""
    return f"{MANIFESTS}/{check_name(name)}/{version}.json"


def check_name(name: str) -> str:
    """`name` itself; raises CtgiError if it cannot name a release or a pin."""
    if not _NAME.fullmatch(name):
        raise CtgiError(f"{name!r}: no name for a release or a pin; use letters, digits, '.', '_' and '-'")
    return name


def read_manifest(store: Store, name: str, version: int) -> Manifest:
    """The manifest of one version.

    Raises:
        NotThere: no such version is published. CtgiError: see `Manifest.decode`.
    """
    key = manifest_key(name, version)
    try:
        return Manifest.decode(store.read(key), f"{store.url}/{key}")
    except NotThere as error:
        raise NotThere(
            f"{store.url}: {name} has no version {version}; `ctgi release list {name}` shows what is there"
        ) from error


def numbers(store: Store, name: str) -> list[int]:
    """The published versions of `name`, ascending."""
    folder = f"{MANIFESTS}/{check_name(name)}/"
    stems = (entry.key.removeprefix(folder).removesuffix(".json") for entry in store.list(folder))
    return sorted(int(stem) for stem in stems if stem.isdecimal())
