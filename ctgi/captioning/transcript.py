"""The record of one captioned picture: one JSON file each, and one Parquet file of all of them.

The JSON file is what a run resumes from; the Parquet file is what training reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Pair:
    """One question of an interview and its answer.

    ``probability`` is the model's own, of the whole answer, None where the server gave none; ``reason`` says
    why a pair that was not kept was dropped: uncertain, irrelevant or redundant.
    """

    topic: str
    question: str
    answer: str
    probability: float | None
    kept: bool
    reason: str | None = None


@dataclass(frozen=True)
class Transcript:
    """A captioned picture: the interview, the static caption T_s, the pseudo-caption T_e, and what it cost.

    ``path`` is relative to the picture root when there is one. ``calls``, tokens and ``seconds`` are of the
    interview, as the model gave them, whether or not a cache spared them. ``recipe`` names everything that
    makes the record what it is; a record of another recipe is stale.
    """

    picture_id: str
    path: str
    identity: int | None
    static_caption: str
    caption: str
    pairs: tuple[Pair, ...]
    model: str
    prompt_version: str
    reconstructor: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    recipe: str = ""


def write_transcript(folder: Path, transcript: Transcript) -> None:
    """Write ``<folder>/<picture_id>.json`` whole or not at all."""
    text = json.dumps(asdict(transcript), ensure_ascii=False, indent=1)
    replace_file(folder / f"{transcript.picture_id}.json", text.encode())


def read_transcript(folder: Path, picture_id: str) -> Transcript | None:
    """The record of a picture, or None where there is none that can be used."""
    try:
        data: dict[str, Any] = json.loads((folder / f"{picture_id}.json").read_text(encoding="utf-8"))
        pairs = tuple(Pair(**pair) for pair in data.pop("pairs"))
        transcript = Transcript(pairs=pairs, **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # missing, or damaged by something other than us: the picture is captioned again
    return transcript if transcript.picture_id == picture_id else None


def write_parquet(path: Path, transcripts: Iterable[Transcript]) -> int:
    """Write the pseudo-caption file, one row a picture, whole or not at all; returns the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pair = pa.struct(
        [
            ("topic", pa.string()),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("probability", pa.float64()),
            ("kept", pa.bool_()),
            ("reason", pa.string()),
        ]
    )
    schema = pa.schema(
        [
            ("picture_id", pa.string()),
            ("path", pa.string()),
            ("identity", pa.int64()),
            ("static_caption", pa.string()),
            ("caption", pa.string()),
            ("pairs", pa.list_(pair)),
            ("model", pa.string()),
            ("prompt_version", pa.string()),
            ("reconstructor", pa.string()),
            ("calls", pa.int64()),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("seconds", pa.float64()),
        ]
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    rows = 0
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            batch: list[dict[str, Any]] = []
            for transcript in transcripts:
                row = asdict(transcript)
                del row["recipe"]
                batch.append(row)
                if len(batch) == 1024:
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                    rows, batch = rows + len(batch), []
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            rows += len(batch)
        os.replace(temporary, path)
    except OSError as error:
        raise CtgiError(f"{path}: cannot be written ({error}); check space and permissions") from error
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, by a temporary file beside it and one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CtgiError(f"{path}: cannot be written ({error}); check space and permissions") from error
