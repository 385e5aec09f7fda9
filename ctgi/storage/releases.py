"""Publish a release so that a reader sees the whole of it or none, and find it again.

In the store:

    releases/<name>/<version>-<content>/…     its objects, written first, seen by nobody
    manifests/<name>/<version>.json           created last, conditionally: from then on it is published
    pins/<name>/<label>.json                  a label that points to a version

A publisher that was killed leaves objects but no manifest; the next one finds those that are whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.digest import files_sha256
from ctgi.storage.manifest import (
    DATA,
    MANIFESTS,
    File,
    Item,
    Manifest,
    check_name,
    content_of,
    manifest_key,
    numbers,
    read_manifest,
)
from ctgi.storage.store import AlreadyThere, NotThere, Store, check_store

PINS = "pins"
LATEST, PINNED = "latest", "pinned"
# What goes where in a version; and how a folder is read, once, to know it for any version.
Layout = Callable[[int], Sequence[Item]]
Arrange = Callable[[Path], Layout]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Published:
    """What `publish` did.

    Attributes:
        already: the very same content was published before; nothing was done.
        sent, found: bytes that were sent, and that were there from an earlier attempt.
    """

    manifest: Manifest
    already: bool
    sent: int
    found: int


def as_it_lies(folder: Path) -> Layout:
    """Every file of the folder under its own path; hidden ones are left out."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    digests = files_sha256([folder / name for name in names])
    items = [
        Item(name.as_posix(), folder / name, name.as_posix(), digest)
        for name, digest in zip(names, digests, strict=True)
    ]
    return lambda version: items


def publish(
    store: Store,
    release_dir: Path,
    name: str,
    version: int | None = None,
    *,
    arrange: Arrange = as_it_lies,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Published:
    """Publish the folder as one version of `name`.

    Args:
        version: from 1; None takes the number after the highest, or the highest if it has this content.
        arrange: reads the folder and says which object goes where in a version
            (`ctgi.export.triton.as_repository` makes a Triton model repository of a release).
        facts: to be kept with it; JSON values.
        progress: takes (bytes done, bytes in all).

    Raises:
        CtgiError: the folder is empty, the version is taken by other content, or the store fails. Whatever
            was sent stays for the next call.
    """
    check_name(name)
    if version is not None and version < 1:
        raise CtgiError(f"version {version}: versions are whole numbers from 1")
    check_store(store)
    layout = arrange(release_dir)
    while True:
        there = numbers(store, name)
        for number in there[-1:] if version is None else [n for n in there if n == version]:
            items = layout(number)
            manifest = read_manifest(store, name, number)
            if manifest.content == content_of(_files(items)):
                _send(store, manifest.prefix, items, progress)  # what somebody deleted comes back
                return Published(manifest, True, 0, manifest.size)
            if version is not None:
                raise _taken(store, name, version)
        number = max(there, default=0) + 1 if version is None else version
        items = layout(number)
        if not items:
            raise CtgiError(f"{release_dir}: nothing to publish; name a folder that `ctgi export` wrote")
        content = content_of(_files(items))
        manifest = Manifest(
            name=name,
            version=number,
            prefix=f"{DATA}/{name}/{number}-{content[:16]}",
            content=content,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            files=_files(items),
            facts=dict(facts or {}),
        )
        sent, found = _send(store, manifest.prefix, items, progress)
        try:
            store.put(manifest_key(name, number), manifest.encode(), only_if_absent=True)
            return Published(manifest, False, sent, found)
        except AlreadyThere as error:  # somebody was quicker
            other = read_manifest(store, name, number)
            if other.content == content:
                return Published(other, True, sent, found)
            if version is not None:
                raise _taken(store, name, version) from error


def versions(store: Store, name: str) -> list[Manifest]:
    """Every published version of `name`, ascending."""
    return [read_manifest(store, name, number) for number in numbers(store, name)]


def names(store: Store) -> list[str]:
    """The names under which anything is published, sorted."""
    return sorted({entry.key.split("/")[1] for entry in store.list(f"{MANIFESTS}/")})


def pin(store: Store, name: str, version: int, label: str = PINNED) -> None:
    """Let `label` point to a version: it can be fetched by that name, and is never collected while it does.

    Raises:
        NotThere: no such version.
        CtgiError: the label is a number or "latest", which mean something else.
    """
    if label == LATEST or check_name(label).isdecimal():
        raise CtgiError(f"{label!r}: no label; numbers and 'latest' name versions already")
    read_manifest(store, name, version)
    content = {"version": version, "pinned": datetime.now(UTC).isoformat(timespec="seconds")}
    store.put(_pin_key(name, label), (json.dumps(content) + "\n").encode())
    try:
        read_manifest(store, name, version)
    except NotThere:  # collected in between: `collect` looks at the pins after it took the manifest away
        store.delete(_pin_key(name, label))
        raise


def unpin(store: Store, name: str, label: str = PINNED) -> None:
    """Take the label away; raises NotThere if it points to nothing."""
    if label not in pins(store, name):
        raise NotThere(f"{store.url}: {name} has no pin {label!r}; `ctgi release list {name}` shows them")
    store.delete(_pin_key(name, label))


def pins(store: Store, name: str) -> dict[str, int]:
    """The version that each label points to."""
    found = {}
    folder = f"{PINS}/{check_name(name)}/"
    for entry in store.list(folder):
        try:
            found[entry.key.removeprefix(folder).removesuffix(".json")] = int(
                json.loads(store.read(entry.key))["version"]
            )
        except NotThere:  # taken away since it was listed
            continue
        except (ValueError, TypeError, KeyError) as error:
            raise CtgiError(f"{store.url}/{entry.key}: not a pin; delete it and pin again") from error
    return dict(sorted(found.items()))


def resolve(store: Store, name: str, version: int | str = LATEST) -> Manifest:
    """The release that a number, "latest" or the label of a pin means.

    Raises:
        NotThere: there is none.
    """
    if isinstance(version, int) or version.isdecimal():
        return read_manifest(store, name, int(version))
    if version == LATEST:
        there = numbers(store, name)
        if not there:
            raise NotThere(f"{store.url}: no release {name} is published there; see `ctgi release list`")
        return read_manifest(store, name, there[-1])
    labels = pins(store, name)
    if version not in labels:
        raise NotThere(
            f"{store.url}: {name} has no pin {version!r}; set it with `ctgi release pin {name} --version N`"
        )
    return read_manifest(store, name, labels[version])


def verify(store: Store, manifest: Manifest, progress: Progress | None = None) -> Iterator[str]:
    """Read every object of the release again and say what is wrong with it, a line each."""
    done = 0
    for file in manifest.files:
        try:
            for chunk in store.chunks(f"{manifest.prefix}/{file.key}", sha256=file.sha256):
                done += len(chunk)
                if progress is not None:
                    progress(done, manifest.size)
        except NotThere:
            yield f"{manifest.prefix}/{file.key}: is missing"
        except CtgiError as error:
            yield str(error)


def _pin_key(name: str, label: str) -> str:
    return f"{PINS}/{check_name(name)}/{check_name(label)}.json"


def _taken(store: Store, name: str, version: int) -> CtgiError:
    return AlreadyThere(
        f"{store.url}: {name} version {version} is published already, with other content; publish without a "
        "version to get the next free one"
    )


def _files(items: Sequence[Item]) -> tuple[File, ...]:
    return tuple(File(item.key, item.path, _size(item), item.sha256) for item in items)


def _size(item: Item) -> int:
    return len(item.source) if isinstance(item.source, bytes) else item.source.stat().st_size


def _send(store: Store, prefix: str, items: Sequence[Item], progress: Progress | None) -> tuple[int, int]:
    """Put what is not there yet. Returns bytes sent and bytes found.

    The smallest object is always put anew, and first: `collect` takes a prefix without a manifest for
    abandoned by the age of its newest object.
    """
    total, done, sent, found = sum(map(_size, items)), 0, 0, 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    for place, item in enumerate(sorted(items, key=lambda item: (_size(item), item.key))):
        key, size = f"{prefix}/{item.key}", _size(item)
        there = store.stat(key) if place else None
        # The prefix is named after the content, so that what is whole is right where no digest is kept.
        if there is not None and there.size == size and there.sha256 in (None, item.sha256):
            found += size
            count(size)
        else:
            store.put(key, item.source, sha256=item.sha256, progress=count)
            sent += size
    return sent, found
