"""A data set in WebDataset shards: tar files that lie on several disks or on a network file system.

In a shard every picture is two members, `000000012.jpg` with the file's own bytes and `000000012.json` with
name, identity and captions: any WebDataset reader can stream it. Beside each shard a small index (.jsonl)
says where every picture's bytes begin, so that this project reads single pictures from the middle of a shard,
in any order and from many threads, and can tell damaged bytes by their checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL.Image import Image

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.errors import CtgiError

INDEX = "shards.json"
FORMAT = "ctgi shards 1"


@dataclass(frozen=True)
class Member:
    """Where a picture's bytes are."""

    shard: Path
    offset: int
    size: int
    crc32: int


class ShardSet:
    """The samples of a set in shards; a sample's `picture` is a path inside its shard, for `read`."""

    def __init__(self, samples: tuple[Sample, ...], members: dict[Path, Member]) -> None:
        self.samples = samples
        self._members = members

    def read(self, picture: Path) -> Image:
        """Open one sample's picture, whatever thread asks. A path that is in no shard is read as a file.

        Raises CtgiError when the shard is gone or the bytes are not those that were written.
        """
        member = self._members.get(picture)
        if member is None:
            return read_picture(picture)
        try:
            with open(member.shard, "rb", buffering=0) as file:
                file.seek(member.offset)
                data = file.read(member.size)
        except OSError as error:
            raise CtgiError(
                f"{member.shard}: shard cannot be read ({error.strerror}); restore it, or make the set again"
            ) from error
        if zlib.crc32(data) != member.crc32:
            raise CtgiError(
                f"{member.shard}: damaged shard, {picture.name} is not what was written; restore it, or make "
                "the set again"
            )
        return read_picture(data, name=str(picture))


def is_shard_set(folder: Path | str) -> bool:
    """Whether `write_shards` has finished a set there."""
    return (Path(folder) / INDEX).is_file()


def read_shards(folder: Path | str) -> ShardSet:
    """Open the set that `write_shards` made in `folder`.

    Raises CtgiError for a folder without a finished set, a damaged index, or a shard that is missing or has
    another size than was written.
    """
    folder = Path(folder)
    samples: list[Sample] = []
    members: dict[Path, Member] = {}
    for entry in _index(folder)["shards"]:
        shard = folder / entry["file"]  # an absolute path stays what it is
        try:
            size = shard.stat().st_size
        except OSError as error:
            raise CtgiError(f"{shard}: shard is missing; restore it, or make the set again") from error
        if size != entry["bytes"]:
            raise CtgiError(
                f"{shard}: damaged shard, {size} bytes of {entry['bytes']}; restore it, or make the set again"
            )
        for row in _rows(shard):
            path = shard / row["member"]
            samples.append(Sample(path, row["identity"], tuple(row["captions"])))
            members[path] = Member(shard, row["offset"], row["size"], row["crc32"])
    return ShardSet(tuple(samples), members)


def check_shards(folder: Path | str) -> int:
    """Read every byte of a set and compare it with its digests; returns the number of shards.

    Raises CtgiError naming the first shard that differs.
    """
    folder = Path(folder)
    read_shards(folder)
    entries = _index(folder)["shards"]
    for entry in entries:
        shard = folder / entry["file"]
        if _sha256(shard) != entry["sha256"]:
            raise CtgiError(f"{shard}: damaged shard, its digest differs; restore it, or make the set again")
    return len(entries)


def write_shards(
    samples: Sequence[Sample],
    out: Path | str,
    *,
    per_shard: int = 1000,
    disks: Sequence[Path | str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `samples` to shards in `out`, or dealt in turn to the folders `disks`; returns the index.

    Pictures are checked by decoding and stored as they are. Interrupted and called again with the same
    arguments, it goes on behind the last whole shard.

    Raises CtgiError for an empty set, a bad picture, a folder with another set, or a disk that is full.
    """
    if not samples or per_shard < 1:
        raise CtgiError("shards need at least one picture, and at least one picture a shard")
    out = Path(out)
    folders = [Path(disk).absolute() for disk in disks] or [out]
    plan = {"format": FORMAT, "per_shard": per_shard, "of": _digest(samples)}
    _claim(out, plan)
    entries = []
    for number, start in enumerate(range(0, len(samples), per_shard)):
        folder = folders[number % len(folders)]
        shard = folder / f"shard-{number:06d}.tar"
        part = samples[start : start + per_shard]
        if not _index_of(shard).is_file():
            _write_shard(shard, part, start)
        file = shard.name if folder == out else str(shard)
        facts = {"pictures": len(part), "bytes": shard.stat().st_size, "sha256": _sha256(shard)}
        entries.append({"file": file, **facts})
        if progress:
            progress(start + len(part), len(samples))
    index = {**plan, "pictures": len(samples), "shards": entries}
    with _replaced(out / INDEX) as handle:
        handle.write((json.dumps(index, indent=1) + "\n").encode())
    return out / INDEX


def _write_shard(shard: Path, samples: Sequence[Sample], first: int) -> None:
    rows = []
    with _replaced(shard) as handle, tarfile.open(fileobj=handle, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number, sample in enumerate(samples, start=first):
            try:
                data = sample.picture.read_bytes()
            except OSError as error:
                raise CtgiError(
                    f"{sample.picture}: cannot be read ({error.strerror}); check the path and permissions"
                ) from error
            read_picture(data, name=str(sample.picture))
            ending = sample.picture.suffix.lower() or ".jpg"
            facts = {"name": sample.picture.name, "identity": sample.identity, "captions": sample.captions}
            member = f"{number:09d}{ending}"
            # A tar member's bytes begin one block of 512 behind its header.
            row = {"member": member, "offset": handle.tell() + tarfile.BLOCKSIZE, "size": len(data)}
            rows.append({**row, "crc32": zlib.crc32(data), **facts})
            _add(tar, member, data)
            _add(tar, f"{number:09d}.json", json.dumps(facts, ensure_ascii=False).encode())
    # The index comes last: where it is, the shard is whole.
    with _replaced(_index_of(shard)) as handle:
        for row in rows:
            handle.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _claim(out: Path, plan: dict[str, Any]) -> None:
    file = out / "shards.plan.json"
    if file.exists():
        try:
            same = json.loads(file.read_text(encoding="utf-8")) == plan
        except ValueError:
            same = False
        if not same:
            raise CtgiError(f"{out}: holds shards of another set; name another folder or delete it")
        return
    with _replaced(file) as handle:
        handle.write(json.dumps(plan).encode())


def _index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if index["format"] != FORMAT or not all(
            {"file", "bytes", "sha256"} <= set(e) for e in index["shards"]
        ):
            raise ValueError(f"not of the format {FORMAT!r}")
    except FileNotFoundError as error:
        raise CtgiError(f"{folder}: no {INDEX} there; `ctgi shards` writes it when a set is whole") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CtgiError(f"{file}: damaged index ({error}); make the set again") from error
    return index


def _rows(shard: Path) -> list[dict[str, Any]]:
    file = _index_of(shard)
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            if not {"member", "offset", "size", "crc32", "identity", "captions"} <= set(row):
                raise ValueError("a line lacks a field")
    except (OSError, ValueError, TypeError) as error:
        raise CtgiError(f"{file}: damaged or missing index of a shard ({error}); restore it") from error
    return rows


def _index_of(shard: Path) -> Path:
    return shard.with_suffix(".jsonl")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CtgiError(f"{path}: shard cannot be read ({error.strerror}); restore it") from error


def _digest(samples: Sequence[Sample]) -> str:
    facts = [[str(sample.picture), sample.identity, sample.captions] for sample in samples]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A handle whose content becomes the file at `path` by one rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CtgiError(
            f"{path}: cannot be written ({error.strerror}); check rights and free space"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
