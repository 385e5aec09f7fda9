"""The embedded index: exact search over vectors in memory, kept on disk so that a kill -9 harms nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.gallery.scan import top_k
from ctgi.gallery.segments import MANIFEST, Changes, Entry, Manifest, append, load, writing

Filter = Mapping[str, Any]


@dataclass(frozen=True)
class Hits:
    """The best pictures of each query, best first.

    Attributes:
        ids: object (Q, k'), picture ids.
        scores: float32 (Q, k'), inner products. k' is below k where fewer pictures qualify.
    """

    ids: NDArray[np.object_]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class _State:
    """One generation. A search that runs keeps the one it began with.

    The containers are shared with later generations, which only write behind `count`; whatever else
    changes is copied first.
    """

    manifest: Manifest
    count: int
    names: NDArray[np.object_]
    table: NDArray[np.float32]
    rows: dict[str, int]
    contents: list[Mapping[str, Any]]

    @classmethod
    def of(cls, manifest: Manifest, entries: Mapping[str, Entry]) -> _State:
        empty = np.empty(0, dtype=object), np.empty((0, manifest.dim), dtype=np.float32)
        return cls(manifest, 0, *empty, {}, []).grown(manifest, entries)

    def changed(self, manifest: Manifest, changes: Changes) -> _State:
        """This state with `changes` applied; what is written anew goes to the end."""
        kept = {name: entry for name, entry in changes.items() if entry is not None}
        if any(name in self.rows for name in changes):
            stay = np.array([row for name, row in self.rows.items() if name not in changes], dtype=np.int64)
            names = self.names[stay]
            rows = {name: row for row, name in enumerate(names)}
            contents = [self.contents[row] for row in stay]
            return _State(manifest, len(stay), names, self.table[stay], rows, contents).grown(manifest, kept)
        return self.grown(manifest, kept)

    def grown(self, manifest: Manifest, entries: Mapping[str, Entry]) -> _State:
        names, table, count = self.names, self.table, self.count + len(entries)
        if count > len(names):
            room = count if not self.count else max(count, 2 * self.count)
            names, table = np.empty(room, dtype=object), np.empty((room, manifest.dim), dtype=np.float32)
            names[: self.count], table[: self.count] = self.names[: self.count], self.table[: self.count]
        for row, (name, entry) in enumerate(entries.items(), self.count):
            names[row], table[row] = name, entry.vector
            self.rows[name] = row
            self.contents.append(entry.payload)
        return _State(manifest, count, names, table, self.rows, self.contents)

    @property
    def ids(self) -> NDArray[np.object_]:
        return self.names[: self.count]

    @property
    def vectors(self) -> NDArray[np.float32]:
        return self.table[: self.count]

    def row(self, name: str) -> int:
        row = self.rows.get(name, self.count)
        if row >= self.count:
            raise CtgiError(f"picture {name!r} is not in the gallery; index it first")
        return row


class Gallery:
    """A named set of pictures that can be searched. Made by `create` or `open`.

    Any number of processes may search while one writes: each sees the generation it opened, until `refresh`.
    Writers of several processes wait for each other.
    """

    def __init__(self, path: Path, state: _State) -> None:
        self.path = path
        self._state = state
        self._mutex = threading.Lock()

    @classmethod
    def create(cls, path: Path | str, fingerprint: str, dim: int) -> Gallery:
        """Make an empty gallery at `path` for vectors of length `dim` of the release with `fingerprint`.

        Raises:
            CtgiError: a gallery is there already, or the place cannot be written.
        """
        folder = Path(path)
        if dim < 1:
            raise CtgiError(f"{folder}: vectors of length {dim} cannot be indexed")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CtgiError(f"{folder}: cannot be made ({error.strerror}); choose another path") from error
        with writing(folder):
            if (folder / MANIFEST).exists():
                raise CtgiError(f"{folder}: a gallery is there already; open it, or choose another path")
            manifest = Manifest(fingerprint, dim)
            manifest.write(folder)
        return cls(folder, _State.of(manifest, {}))

    @classmethod
    def open(cls, path: Path | str, fingerprint: str | None, *, verify: bool = False) -> Gallery:
        """Open the gallery at `path`; `fingerprint` is that of the release that will encode the queries.

        None opens it to look at (`describe`, `ids`), not to search with vectors of an unknown release.
        `verify` compares the files with their digests, which reads all of them once more.

        Raises:
            CtgiError: no gallery there, a damaged one, or one built with another release.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        if fingerprint is not None and manifest.fingerprint != fingerprint:
            raise CtgiError(
                f"{folder}: built with release {manifest.fingerprint[:12]}, asked with {fingerprint[:12]}; "
                "search with that release, or index the pictures with this one, into another folder"
            )
        return cls(folder, _State.of(*load(folder, verify=verify)))

    def __len__(self) -> int:
        return self._state.count

    def __contains__(self, picture: object) -> bool:
        return picture in self._state.rows

    @property
    def ids(self) -> list[str]:
        """All picture ids in the order of their last write; equal scores are in that order too."""
        return list(self._state.ids)

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.floating[Any]], payload: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add pictures, or replace those whose ids are there. On return it is on disk.

        Args:
            ids: N different ids.
            vectors: (N, D) of unit norm.
            payload: N JSON objects, at least {"path": …}, with "identity" where it is known.

        Raises:
            CtgiError: counts or shapes that do not fit, an id twice, vectors that are not finite or not of
            unit
                norm, a payload that is not JSON, or a disk that refuses.
        """
        table = np.ascontiguousarray(vectors, dtype=np.float32)
        dim = self._state.manifest.dim
        if not len(ids) == len(table) == len(payload):
            raise CtgiError(
                f"{len(ids)} ids, {len(table)} vectors, {len(payload)} payloads: one of each is needed"
            )
        if not len(ids):
            return
        if table.shape != (len(ids), dim):
            raise CtgiError(f"vectors of shape {table.shape}: this gallery holds vectors of length {dim}")
        if len(set(ids)) != len(ids) or not all(isinstance(name, str) and name for name in ids):
            raise CtgiError("ids must be non-empty strings and each may occur once in a call")
        norms = np.linalg.norm(table, axis=1)
        if not (np.abs(norms - 1) < 1e-3).all():  # catches NaN as well
            raise CtgiError("vectors must be finite and of unit norm; take them from the release's encoders")
        try:
            copies = [json.loads(json.dumps(dict(item), allow_nan=False)) for item in payload]
        except (TypeError, ValueError) as error:
            raise CtgiError(f"payload cannot be kept as JSON ({error})") from error
        self._change({name: Entry(row, item) for name, row, item in zip(ids, table, copies, strict=True)})

    def delete(self, ids: Sequence[str]) -> int:
        """Remove pictures and return how many were there. On return it is on disk."""
        return self._change({name: None for name in ids})

    def search(self, vectors: NDArray[np.floating[Any]], k: int, filter: Filter | None = None) -> Hits:
        """The k pictures with the largest inner product for each query vector.

        Args:
            vectors: (Q, D) or (D,), any norm (MTI searches with a fused vector).
            filter: payload fields and the value each must have; a list, tuple or set stands for any of its
                values.

        Raises:
            CtgiError: vectors of another length or not finite, or k below 1.
        """
        state = self._state
        table = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        if table.ndim != 2 or table.shape[1] != state.manifest.dim:
            raise CtgiError(
                f"query vectors of shape {table.shape}: this gallery needs length {state.manifest.dim}"
            )
        if not np.isfinite(table).all():
            raise CtgiError("query vectors hold values that are not finite")
        if k < 1:
            raise CtgiError(f"k = {k}: at least one hit must be asked for")
        allowed = None
        if filter:
            contents = state.contents[: state.count]
            allowed = np.fromiter((_matches(item, filter) for item in contents), bool, state.count)
        scores, rows = top_k(state.vectors, table, k, allowed)
        return Hits(state.ids[rows], scores)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """float32 (N, D) of the given pictures.

        Raises:
            CtgiError: an id that is not there.
        """
        state = self._state
        return state.vectors[np.array([state.row(name) for name in ids], dtype=np.int64)]

    def payloads(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """What was stored beside each of the given pictures.

        Raises:
            CtgiError: an id that is not there.
        """
        state = self._state
        return [dict(state.contents[state.row(name)]) for name in ids]

    def describe(self) -> dict[str, Any]:
        """Path, fingerprint, dim, count, generation, segments, bytes of vectors, kind of index."""
        state = self._state
        return {
            "path": str(self.path),
            "fingerprint": state.manifest.fingerprint,
            "dim": state.manifest.dim,
            "count": state.count,
            "generation": state.manifest.generation,
            "segments": len(state.manifest.segments),
            "vector_bytes": state.vectors.nbytes,
            "index": "exact inner product",
        }

    def refresh(self) -> bool:
        """Take up what another process wrote since; return whether there was anything."""
        with self._mutex:
            return self._refresh()

    def _refresh(self) -> bool:
        newest = Manifest.read(self.path)
        mine = self._state.manifest
        if newest == mine:
            return False
        if newest.fingerprint != mine.fingerprint or newest.dim != mine.dim:
            raise CtgiError(
                f"{self.path}: was built anew with release {newest.fingerprint[:12]}; open it again"
            )
        self._state = _State.of(*load(self.path))
        return True

    def _change(self, changes: Changes) -> int:
        with self._mutex, writing(self.path):
            self._refresh()
            known = self._state.rows
            changes = {name: entry for name, entry in changes.items() if entry is not None or name in known}
            found = sum(name in known for name in changes)
            if changes:
                manifest = append(self.path, self._state.manifest, changes)
                self._state = self._state.changed(manifest, changes)
            return found


def _matches(payload: Mapping[str, Any], wanted: Filter) -> bool:
    for name, value in wanted.items():
        if name not in payload:
            return False
        if isinstance(value, list | tuple | set | frozenset):
            if payload[name] not in value:
                return False
        elif payload[name] != value:
            return False
    return True
