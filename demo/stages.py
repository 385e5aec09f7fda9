"""Stages that are done once: each has a record of what it was made from and what it left behind.

A stage is skipped if its record says that it ended, was made from the same inputs, and left the very files
that are there now. If it was interrupted it is called again on what it has (its work continues by its own
means). If its inputs are others, or its files were changed, its folder is emptied and it begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctgi.captioning.progress import duration
from ctgi.cli.figures import plain
from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_json
from ctgi.storage.digest import file_sha256

_RECORDS = "records"


@dataclass(frozen=True)
class Record:
    """A stage's record. ``digest`` names what it left behind; ``seconds`` are of all sittings that ended or
    were interrupted politely, ``sittings`` counts how often it was begun."""

    name: str
    key: str
    done: bool
    seconds: float = 0.0
    sittings: int = 1
    digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)


class Stages:
    """The stages of one output folder, in their order; ``total`` is for the progress line."""

    def __init__(self, out: Path, total: int, say: Callable[[str], None]) -> None:
        self.out, self._total, self._say = out, total, say
        self.records: dict[str, Record] = {}
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def run(
        self,
        name: str,
        title: str,
        inputs: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        folder: str,
        outputs: Iterable[str] = (),
    ) -> Record:
        """Do ``work(out/folder)``, or read what it did before. ``outputs`` are files below that folder.

        What ``work`` returns is kept in the record; a value "digest" in it stands for the digest of the
        files. Raises CtgiError for a folder that holds something of somebody else, or a missing output.
        """
        place, outputs = self.out / folder, list(outputs)
        head = f"[{len(self.records) + 1:>2}/{self._total}] {title}"
        key = digest_of({"stage": name, **inputs})
        before = self._read(name)
        if (
            before is not None
            and before.done
            and before.key == key
            and _files(place, outputs) == before.files
        ):
            self._say(f"{head}: done before, in {duration(before.seconds)}")
            self.records[name] = before
            return before
        unfinished = before is not None and not before.done and before.key == key
        if not unfinished:
            _empty(place, ours=before is not None)
        self._say(f"{head}{' (going on)' if unfinished else ''} ...")
        begun = Record(name, key, False)
        if unfinished and before is not None:
            begun = Record(name, key, False, before.seconds, before.sittings + 1)
        self._write(begun)
        place.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        try:
            result = dict(plain(work(place)))
        except BaseException:
            self._write(Record(name, key, False, begun.seconds + time.monotonic() - start, begun.sittings))
            raise
        seconds = begun.seconds + time.monotonic() - start
        files = _files(place, outputs)
        missing = [file for file in outputs if file not in files]
        if missing:
            raise CtgiError(
                f"{place / missing[0]}: stage {name} has not written it; remove {place}, run again"
            )
        digest = str(result.pop("digest", "") or digest_of(files))
        record = Record(name, key, True, seconds, begun.sittings, digest, files, result)
        self._write(record)
        self.records[name] = record
        self._say(f"{'':>8}done in {duration(seconds)}, {duration(self.elapsed)} since the start")
        return record

    def _path(self, name: str) -> Path:
        return self.out / _RECORDS / f"{name}.json"

    def _read(self, name: str) -> Record | None:
        try:
            return Record(**json.loads(self._path(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, record: Record) -> None:
        write_json(self._path(record.name), asdict(record))


def digest_of(value: Any) -> str:
    """SHA-256 of a value's JSON."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def digest_model(folder: Path) -> str:
    """Of a model's directory: its JSON, text and weight files. Raises CtgiError where there is no model."""
    if not (folder / "model.safetensors").is_file() or not (folder / "config.json").is_file():
        raise CtgiError(f"{folder}: no model there (config.json and model.safetensors); name its directory")
    wanted = {".json", ".jinja", ".safetensors", ".txt"}
    files = sorted(path for path in folder.iterdir() if path.suffix in wanted and path.is_file())
    return digest_of({path.name: file_sha256(path) for path in files})


def _files(place: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: file_sha256(place / name) for name in names if (place / name).is_file()}


def _empty(place: Path, ours: bool) -> None:
    """Make way for a stage that begins anew, but for nobody else's files."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not ours:
        raise CtgiError(f"{place}: holds something that the demo has no record of; choose another --out")
    shutil.rmtree(place)
