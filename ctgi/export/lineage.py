"""Where an artifact comes from: a record beside it that anything can read.

A record names what was done (git revision, image, seed, prompts), from what (digests of the inputs) and how
well it came out (metrics). It carries the records of everything it was made from, so that one file tells the
whole chain, back to the pictures, without a database or a network. Its id is the SHA-256 of its own content.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ctgi import __version__
from ctgi.errors import CtgiError
from ctgi.export.release import Release
from ctgi.storage.atomic import read_json, write_bytes
from ctgi.storage.digest import file_sha256

LINEAGE = "lineage.json"
SCHEMA = "ctgi.lineage.v1"
# Set by the images that are built from this repository; a container cannot find out its own digest.
GIT_REVISION, IMAGE_DIGEST = "CTGI_GIT_REVISION", "CTGI_IMAGE_DIGEST"
#: Says when and by which code a record's artifact was made, not what it is.
_MAKING = ("id", "made", "ctgi", "git", "image")

#: What an artifact was made from: a path, which is digested; a digest that is known ("sha256:…"); or a path
#: with its digest, which is not read again.
Input = Path | str | tuple[Path, str]


def lineage(
    kind: str,
    inputs: Mapping[str, Input],
    *,
    name: str = "",
    prompts: Mapping[str, str] | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A record of something that has just been made.

    Args:
        kind: what was made: "captions", "checkpoint", "release", "gallery", …
        inputs: what it was made from. The records beside the paths become part of this one.
        prompts: versions by name, e.g. {"judge": "judge@3"}.
        settings, metrics: JSON values.

    Raises:
        CtgiError: an input cannot be read, or a record beside one is none.
    """
    parents: dict[str, dict[str, Any]] = {}
    direct = []
    for source in inputs.values():
        place = source[0] if isinstance(source, tuple) else source
        beside = beside_of(place) if isinstance(place, Path) else None
        if beside is not None and beside.exists():
            parent = read_lineage(beside)
            direct.append(parent["id"])
            for one in [*parent["ancestors"], {k: v for k, v in parent.items() if k != "ancestors"}]:
                parents[one["id"]] = one
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": kind,
        "name": name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "ctgi": __version__,
        "git": git_revision(),
        "image": os.environ.get(IMAGE_DIGEST) or None,
        "inputs": {key: _input(source) for key, source in inputs.items()},
        "prompts": dict(prompts or {}),
        "seed": seed,
        "settings": dict(settings or {}),
        "metrics": dict(metrics or {}),
        "parents": direct,
    }
    return {"id": _id(record), **record, "ancestors": list(parents.values())}


def release_lineage(release: Release) -> dict[str, Any]:
    """The record of a release that has none beside it, from what `release.json` says: always the same one."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "release",
        "name": release.name,
        "made": release.created,
        "ctgi": None,
        "git": None,
        "image": None,
        "inputs": {},
        "prompts": {},
        "seed": None,
        "settings": {**release.lineage, "fingerprint": release.fingerprint},
        "metrics": dict(release.metrics),
        "parents": [],
    }
    return {"id": _id(record), **record, "ancestors": []}


def beside_of(artifact: Path) -> Path:
    """Where the record of an artifact is: in a folder `lineage.json`, of a file `<name>.lineage.json`."""
    return artifact / LINEAGE if artifact.is_dir() else artifact.with_name(f"{artifact.name}.{LINEAGE}")


def encode_lineage(record: Mapping[str, Any]) -> bytes:
    """As readable JSON; raises CtgiError for values that JSON does not have."""
    return _dumps(record, indent=2).encode() + b"\n"


def write_lineage(artifact: Path, record: Mapping[str, Any]) -> Path:
    """Write the record beside its artifact, atomically; returns where.

    One that says the same but for when and by which code it was made stays: a command that is repeated and
    finds its work done has made nothing.
    """
    path = beside_of(artifact)
    try:
        before = read_lineage(artifact)
    except CtgiError:  # none, or none that can be used
        before = {}
    if _told(before) != _told(record):
        write_bytes(path, encode_lineage(record))
    return path


def read_lineage(path: Path) -> dict[str, Any]:
    """The record in a file, or beside an artifact.

    Raises:
        CtgiError: there is none, it is not one, or it was changed since it was written.
    """
    if path.is_dir() or not path.name.endswith(LINEAGE):
        path = beside_of(path)
    if not path.is_file():
        raise CtgiError(f"{path}: no lineage record there; name an artifact that has one beside it")
    return check_lineage(read_json(path), str(path))


def check_lineage(record: Any, where: str) -> dict[str, Any]:
    """`record` itself.

    Raises:
        CtgiError: it is no record, or one in it is not what its id says.
    """
    try:
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}")
        own = {key: value for key, value in record.items() if key != "ancestors"}
        for one in [own, *record["ancestors"]]:
            if _id({key: value for key, value in one.items() if key != "id"}) != one["id"]:
                raise ValueError(f"{one['kind']} was changed since it was written")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CtgiError(f"{where}: not a lineage record ({error}); make the artifact again") from error
    result: dict[str, Any] = record
    return result


def chain(record: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The record and everything before it, each once, with its distance: (0, itself), (1, a parent), …"""
    known = {one["id"]: one for one in record["ancestors"]}
    told: set[str] = set()

    def walk(one: Mapping[str, Any], depth: int) -> Iterable[tuple[int, dict[str, Any]]]:
        if one["id"] in told:
            return
        told.add(one["id"])
        yield depth, {key: value for key, value in one.items() if key != "ancestors"}
        for parent in one["parents"]:
            if parent in known:
                yield from walk(known[parent], depth + 1)

    return list(walk(record, 0))


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the names, sizes and digests of a folder's files, in hex; hidden files and records not."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not path.name.endswith(LINEAGE):
            total.update(f"{name.as_posix()}\n{path.stat().st_size}\n{file_sha256(path)}\n".encode())
    return total.hexdigest()


@cache
def git_revision() -> str | None:
    """The revision of this library: from the environment, or of the checkout it runs from ("…+changes" if the
    checkout has been changed); None for an installed package."""
    if given := os.environ.get(GIT_REVISION):
        return given
    here = Path(__file__).resolve().parent
    # An environment inside somebody else's checkout must not be taken for it.
    if _git(here, "ls-files", "--error-unmatch", "release.py") is None:
        return None
    revision = _git(here, "rev-parse", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no", "..")
    return f"{revision}+changes" if revision and changed else revision


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _MAKING}


def _input(source: Input) -> dict[str, Any]:
    if isinstance(source, str):
        return {"digest": source}
    if isinstance(source, tuple):
        return {"name": source[0].name, "digest": source[1]}
    if source.is_dir():
        return {"name": source.name, "digest": f"sha256:{folder_sha256(source)}"}
    return {"name": source.name, "digest": f"sha256:{file_sha256(source)}"}


def _id(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dumps(record, sort_keys=True).encode()).hexdigest()


def _dumps(record: Mapping[str, Any], **form: Any) -> str:
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, **form)
    except (TypeError, ValueError) as error:
        raise CtgiError(f"lineage: {error}; record numbers, texts, lists and mappings of them") from error
