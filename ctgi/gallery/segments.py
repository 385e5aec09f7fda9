"""How a gallery lies on disk: segments that never change, and one small manifest that names the valid ones.

    manifest.json      {"format", "fingerprint", "dim", "generation", "segments": ["00000004", ...]}
    00000004/          entries.jsonl: {"id", "payload"} or {"id", "deleted": true}, one a line, in order
                       vectors.npy: float32 (lines that are not deletions, D)
                       sha256.json: of these two files
    lock               held by the one writer

A change writes a new segment, then replaces the manifest by one rename: a kill at any point leaves the
gallery as it was before or as it is after. What is later overrides what is earlier. A new segment swallows
the ones before it that are not larger, so that N entries added in small batches leave about log N segments
and are written about log N times. Readers hold a whole generation in memory; when a segment vanishes under
one that is just opening, it starts again from the newer manifest.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.storage.atomic import atomic_directory, write_json
from ctgi.storage.digest import file_sha256

MANIFEST, ENTRIES, VECTORS, LOCK = "manifest.json", "entries.jsonl", "vectors.npy", "lock"
DIGESTS = "sha256.json"
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """What is kept of one picture beside its id."""

    vector: NDArray[np.float32]
    payload: Mapping[str, Any]


# What one segment says: id -> entry, or None where it says "deleted".
Changes = dict[str, Entry | None]


@dataclass(frozen=True)
class Manifest:
    """Which segments make up the gallery now, and which release its vectors come from."""

    fingerprint: str
    dim: int
    generation: int = 0
    segments: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in `folder`.

        Raises:
            CtgiError: no gallery there, or one of another format.
        """
        try:
            fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            manifest = cls(**{**fields, "segments": tuple(fields["segments"]), "rows": tuple(fields["rows"])})
        except FileNotFoundError as error:
            raise CtgiError(f"{folder}: no gallery there; make one with `ctgi index`") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CtgiError(f"{folder}: its {MANIFEST} cannot be read ({error}); {anew(folder)}") from error
        if manifest.format != FORMAT:
            raise CtgiError(
                f"{folder}: gallery format {manifest.format}, this version reads {FORMAT}; {anew(folder)}"
            )
        return manifest

    def write(self, folder: Path) -> None:
        """Make this the gallery's present state."""
        write_json(folder / MANIFEST, asdict(self))


def anew(folder: Path) -> str:
    """What to do about a gallery that cannot be used any more: to index into it again would fail alike."""
    kept = ""
    if (folder / "dossiers.sqlite").exists():
        kept = "; its dossiers.sqlite can be put into the new one"
    return f"move {folder} away, or name another folder, and index the pictures again{kept}"


def check_place(folder: Path) -> None:
    """Raise CtgiError where a gallery made in `folder` would lie among something else's files.

    Without a manifest there may be what a gallery's first writer left when it was killed, and answers of a
    chat model that somebody kept of an older gallery.
    """
    if (folder / MANIFEST).exists():
        Manifest.read(folder)
        return
    try:
        names = os.listdir(folder) if folder.exists() else []
    except OSError as error:
        raise CtgiError(f"{folder}: cannot be read ({error.strerror}); choose another folder") from error
    ours = ("dossiers.sqlite", "replies.sqlite")
    other = [name for name in names if name not in (LOCK, ".lock") and not name.startswith(ours)]
    other = [name for name in other if not (name.startswith(f".{MANIFEST}.") and name.endswith(".tmp"))]
    if other:
        raise CtgiError(
            f"{folder}: holds {min(other)!r} and is no gallery; name a folder that is new, empty or a gallery"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the gallery's lock; it ends with the process, however that ends."""
    try:
        handle = (folder / LOCK).open("a")
    except OSError as error:
        raise CtgiError(f"{folder}: cannot be written ({error.strerror}); check its rights") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def load(folder: Path, *, verify: bool = False) -> tuple[Manifest, dict[str, Entry]]:
    """The newest state: id -> entry in the order of the last write. `verify` as in `read_segment`.

    Raises:
        CtgiError: no gallery, or a damaged segment.
    """
    while True:
        manifest = Manifest.read(folder)
        try:
            changes: Changes = {}
            for name in manifest.segments:
                _apply(
                    changes, read_segment(folder / name, manifest.dim, verify=verify), keep_deletions=False
                )
        except FileNotFoundError as error:
            if Manifest.read(folder).generation != manifest.generation:
                continue  # a writer put a newer state in place while this one was read
            raise CtgiError(f"{folder}: {error.filename} is missing; {anew(folder)}") from error
        return manifest, {name: entry for name, entry in changes.items() if entry is not None}


def append(folder: Path, manifest: Manifest, changes: Changes) -> Manifest:
    """Persist `changes` on top of `manifest` and return the new state. The caller holds the lock."""
    names, rows = list(manifest.segments), list(manifest.rows)
    parts = [changes]
    size = len(changes)
    while rows and rows[-1] <= size:
        # Checked, since what is written anew gets a digest that says it is right.
        parts.append(read_segment(folder / names.pop(), manifest.dim, verify=True))
        size += rows.pop()
    merged: Changes = {}
    for part in reversed(parts):
        _apply(merged, part, keep_deletions=bool(names))
    generation = manifest.generation + 1
    name = f"{generation:08d}"
    if merged:
        with atomic_directory(folder / name, replace=True) as target:
            _write_segment(target, merged, manifest.dim)
            digests = {file: file_sha256(target / file) for file in (ENTRIES, VECTORS)}
            write_json(target / DIGESTS, digests)
        names.append(name)
        rows.append(len(merged))
    new = Manifest(manifest.fingerprint, manifest.dim, generation, tuple(names), tuple(rows))
    new.write(folder)
    _sweep(folder, keep=set(names))
    return new


def read_segment(folder: Path, dim: int, *, verify: bool = False) -> Changes:
    """What the segment in `folder` says, in its order; with `verify` its files are compared with the digests
    that were written beside them, where an older version did not leave them out.

    Raises:
        FileNotFoundError: it is not there (any more).
        CtgiError: it is damaged.
    """
    try:
        if verify and (folder / DIGESTS).exists():
            _check_digests(folder)
        lines = (folder / ENTRIES).read_text(encoding="utf-8").splitlines()
        vectors = np.load(folder / VECTORS, allow_pickle=False)
        records = [json.loads(line) for line in lines]
        if (
            vectors.shape != (sum("payload" in record for record in records), dim)
            or vectors.dtype != np.float32
        ):
            raise ValueError(f"{len(lines)} entries beside vectors of shape {vectors.shape}")
        row = iter(vectors)
        return {
            record["id"]: Entry(next(row), record["payload"]) if "payload" in record else None
            for record in records
        }
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise CtgiError(f"{folder}: damaged ({error}); {anew(folder.parent)}") from error


def _check_digests(folder: Path) -> None:
    said = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    for file in (ENTRIES, VECTORS):
        try:
            found = file_sha256(folder / file)
        except CtgiError as error:  # for the caller it may be one that has been swallowed meanwhile
            raise error.__cause__ or error from None
        if found != said[file]:
            raise ValueError(f"{file} is not what was written")


def _write_segment(folder: Path, changes: Changes, dim: int) -> None:
    kept = [entry.vector for entry in changes.values() if entry is not None]
    np.save(folder / VECTORS, np.stack(kept) if kept else np.empty((0, dim), np.float32), allow_pickle=False)
    with (folder / ENTRIES).open("w", encoding="utf-8") as handle:
        for name, entry in changes.items():
            record = (
                {"id": name, "deleted": True} if entry is None else {"id": name, "payload": entry.payload}
            )
            handle.write(
                json.dumps(record, allow_nan=False) + "\n"
            )  # ASCII: no line separator can hide in a text


def _apply(onto: Changes, changes: Changes, *, keep_deletions: bool) -> None:
    for name, entry in changes.items():
        onto.pop(name, None)  # the order is that of the last write, however segments were merged in between
        if entry is not None or keep_deletions:
            onto[name] = entry


def _sweep(folder: Path, *, keep: set[str]) -> None:
    """Remove segments that no manifest names: swallowed ones, and what a killed writer left."""
    for item in os.scandir(folder):
        if item.is_dir(follow_symlinks=False) and item.name not in keep:
            left = item.name.startswith(".") and item.name.endswith(".tmp")
            if left or (item.name.isdigit() and len(item.name) == 8):
                shutil.rmtree(item.path, ignore_errors=True)
