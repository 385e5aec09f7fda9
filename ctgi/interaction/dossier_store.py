"""Dossiers on disk: one SQLite file beside the vectors, a row a picture, each there whole or not at all.

A row is safe from the death of the process once `put` returns, several processes may write, and 10^5 rows
load in about a second: the distributions are float16 in one blob a picture, the answers stay compressed until
somebody wants to read them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.interaction.dossier import Answer, Dossiers, Facet

#: The file in a gallery's folder.
DOSSIERS = "dossiers.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS recipes (
    number INTEGER PRIMARY KEY, model TEXT NOT NULL, prompt_version TEXT NOT NULL, facets TEXT NOT NULL,
    UNIQUE (model, prompt_version, facets));
CREATE TABLE IF NOT EXISTS dossiers (
    id TEXT PRIMARY KEY, recipe INTEGER NOT NULL REFERENCES recipes, probability BLOB NOT NULL,
    answers BLOB NOT NULL);
"""
Row = tuple[str, int, bytes, bytes]


class DossierStore:
    """The dossiers of a gallery. Raises CtgiError where the file is none, damaged, or cannot be written."""

    def __init__(self, path: Path | str, *, must_exist: bool = False) -> None:
        self.path = Path(path)
        self._writing = threading.Lock()  # threads share one connection, and a connection has one transaction
        if must_exist and not self.path.is_file():
            raise CtgiError(f"{self.path}: no dossiers there; make them with `ctgi index --dossiers`")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30.0, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._damaged(error) from error

    def __enter__(self) -> DossierStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def fresh(self, model: str, prompt_version: str, facets: Sequence[Facet]) -> set[str]:
        """Ids of the pictures that were asked by this model, with these prompts, about these facets."""
        try:
            rows = self._db.execute(
                "SELECT id FROM dossiers JOIN recipes ON recipe = number "
                "WHERE model = ? AND prompt_version = ? AND facets = ?",
                (model, prompt_version, _facets_json(facets)),
            )
            return {name for (name,) in rows}
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def ids(self) -> set[str]:
        """Ids of all pictures that have a dossier, stale ones included."""
        try:
            return {name for (name,) in self._db.execute("SELECT id FROM dossiers")}
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def recipe(self, model: str, prompt_version: str, facets: Sequence[Facet]) -> int:
        """The number under which a recipe is kept; what is read are the newest one's facets."""
        said = model, prompt_version, _facets_json(facets)
        try:
            self._db.execute("INSERT OR IGNORE INTO recipes VALUES (NULL, ?, ?, ?)", said)
            (number,) = self._db.execute(
                "SELECT number FROM recipes WHERE model = ? AND prompt_version = ? AND facets = ?", said
            ).fetchone()
            return int(number)
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def put(
        self, picture: str, recipe: int, weights: Sequence[NDArray[np.float32]], answers: Iterable[Answer]
    ) -> None:
        """Keep the dossier of one picture, in place of an older one."""
        self._write([(picture, recipe, packed(weights), packed_answers(answers))])

    def put_all(self, dossiers: Dossiers) -> None:
        """Keep many at once."""
        known = dossiers.recipes or ((dossiers.model, dossiers.prompt_version),)
        numbers = [self.recipe(model, prompt, dossiers.facets) for model, prompt in known]
        which = np.zeros(len(dossiers), np.int64) if dossiers.recipe is None else dossiers.recipe
        table = np.concatenate(dossiers.probability, axis=1).astype(np.float16)
        self._write(
            (name, numbers[which[row]], table[row].tobytes(), dossiers.said[row] if dossiers.said else b"")
            for row, name in enumerate(dossiers.ids)
            if which[row] >= 0
        )

    def forget(self, ids: Iterable[str]) -> None:
        """Remove the dossiers of pictures that are gone."""
        self._db.executemany("DELETE FROM dossiers WHERE id = ?", [(name,) for name in ids])

    def read(self) -> Dossiers:
        """All dossiers about the facets of the newest recipe. Raises CtgiError where there are none."""
        try:
            recipes = self._db.execute("SELECT number, model, prompt_version, facets FROM recipes").fetchall()
            rows: list[Row] = self._db.execute(
                "SELECT id, recipe, probability, answers FROM dossiers ORDER BY rowid"
            ).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(error) from error
        if not rows:
            raise CtgiError(f"{self.path}: holds no dossiers; make them with `ctgi index --dossiers`")
        newest = max(recipe for _, recipe, _, _ in rows)
        _, model, prompt_version, facets_text = next(row for row in recipes if row[0] == newest)
        kept = [row for row in recipes if row[3] == facets_text]
        place = {number: at for at, (number, *_) in enumerate(kept)}
        rows = [row for row in rows if row[1] in place]
        facets = tuple(Facet(topic, name, tuple(values)) for topic, name, values in json.loads(facets_text))
        return Dossiers(
            facets,
            tuple(row[0] for row in rows),
            self._tables([row[2] for row in rows], facets),
            model,
            prompt_version,
            tuple(row[3] for row in rows),
            tuple((row[1], row[2]) for row in kept),
            np.array([place[row[1]] for row in rows], np.int64),
        )

    def bytes_per_picture(self) -> float:
        """Bytes on disk by the number of pictures; 0 without any."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM dossiers").fetchone()
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        (pages,), (size,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        return pages * size / count if count else 0.0

    def _tables(self, blobs: Sequence[bytes], facets: Sequence[Facet]) -> tuple[NDArray[np.float32], ...]:
        widths = [len(facet.values) for facet in facets]
        joined = np.frombuffer(b"".join(blobs), np.float16)
        if joined.size != len(blobs) * sum(widths):
            raise CtgiError(f"{self.path}: damaged (a dossier of another length); remove it and ask again")
        table = joined.reshape(len(blobs), -1).astype(np.float32)
        parts = np.split(table, np.cumsum(widths)[:-1], axis=1)
        return tuple(np.ascontiguousarray(part / part.sum(axis=1, keepdims=True)) for part in parts)

    def _write(self, rows: Iterable[Row]) -> None:
        try:
            with self._writing:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany("INSERT OR REPLACE INTO dossiers VALUES (?, ?, ?, ?)", rows)
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
        except sqlite3.Error as error:  # a full disk: going on would ask for what cannot be kept
            raise CtgiError(f"{self.path}: {error}; free some space and run again") from error

    def _damaged(self, error: Exception) -> CtgiError:
        return CtgiError(f"{self.path}: dossiers cannot be used ({error}); remove the file and ask again")


def packed(weights: Sequence[NDArray[np.float32]]) -> bytes:
    """The distributions of one picture as they are stored: float16, one after another."""
    return np.concatenate(weights).astype(np.float16).tobytes()


def packed_answers(answers: Iterable[Answer]) -> bytes:
    """The answers of one picture as they are stored: JSON of [text, probability] by topic, compressed."""
    said = {a.topic: [a.text, None if a.probability is None else round(a.probability, 4)] for a in answers}
    return zlib.compress(
        json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    )


def _facets_json(facets: Sequence[Facet]) -> str:
    return json.dumps([[f.topic, f.name, list(f.values)] for f in facets], ensure_ascii=False)
