"""A pseudo-captioned set, read through its file schema: one Parquet row a picture.

This file is one side of the contract whose other side is the captioning run's output. Columns:
picture_id, path, identity (nullable), static_caption (T_s), caption (T_e), and pairs: a list of structs
topic, question, answer, probability, kept, reason. Further columns (model, cost, times) are not read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ctgi.datasets.annotations import Sample
from ctgi.errors import CtgiError

COLUMNS = ("picture_id", "path", "identity", "static_caption", "caption", "pairs")


@dataclass(frozen=True)
class AnswerRecord:
    """One question of an interview: what was answered, how sure the model was (0..1, None if it did not say),
    whether the pair entered the caption, and if not, why."""

    topic: str
    question: str
    answer: str
    probability: float | None
    kept: bool
    reason: str | None


@dataclass(frozen=True)
class PseudoCaption:
    """One captioned picture. `identity` is None where nobody knows who it is."""

    picture_id: str
    path: str
    identity: int | None
    static_caption: str
    caption: str
    pairs: tuple[AnswerRecord, ...]


def read_pseudo_captions(parquet: Path | str) -> tuple[PseudoCaption, ...]:
    """Read a pseudo-caption Parquet file (or a folder of them), in file order.

    Raises CtgiError for a missing or unreadable file, a missing column, an empty set, a null where none may
    be, a negative identity, or a picture listed twice.
    """
    import pyarrow.parquet

    path = Path(parquet)
    if not path.exists():
        raise CtgiError(f"{path}: no such pseudo-caption file; run `ctgi caption` first or check the path")
    try:
        schema = pyarrow.parquet.read_schema(path) if path.is_file() else None
        missing = [name for name in COLUMNS if schema is not None and name not in schema.names]
        if missing:
            raise CtgiError(f"{path}: no column {', '.join(missing)}; is this a pseudo-caption file?")
        rows = pyarrow.parquet.read_table(path, columns=list(COLUMNS)).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise CtgiError(f"{path}: not a readable Parquet file ({_line(error)}); caption again") from error
    if not rows:
        raise CtgiError(f"{path}: holds no captions; run `ctgi caption` on a folder with pictures")
    captions = tuple(_caption(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1))
    seen: set[str] = set()
    for row in captions:
        for name in (row.picture_id, row.path):
            if name in seen:
                raise CtgiError(f"{path}: picture {name} is listed twice; caption into a fresh folder")
        seen |= {row.picture_id, row.path}
    return captions


def pseudo_samples(
    captions: Sequence[PseudoCaption],
    pictures: Path | str,
    text: Literal["caption", "static_caption"] = "caption",
) -> tuple[Sample, ...]:
    """Turn captions into training samples with paths under the folder `pictures`.

    `text` chooses what describes the picture: T_e ("caption", with MTG) or T_s ("static_caption", without).
    Identities are renumbered 0..n-1: where some people's pictures were not captioned their numbers are
    missing, and only who is the same person matters. A picture without identity is a person of its own,
    numbered after the known ones.

    Raises CtgiError for a caption without words or a missing picture.
    """
    folder = Path(pictures)
    known = sorted({row.identity for row in captions if row.identity is not None})
    number = {identity: n for n, identity in enumerate(known)}
    stranger = len(number)
    samples = []
    for row in captions:
        words: str = getattr(row, text).strip()
        if not words:
            raise CtgiError(
                f"{row.path}: its {text} has no words; caption the picture again or remove its row"
            )
        picture = folder / row.path
        if not picture.is_file():
            raise CtgiError(f"{picture}: captioned picture is missing; give the folder that was captioned")
        if row.identity is None:
            identity, stranger = stranger, stranger + 1
        else:
            identity = number[row.identity]
        samples.append(Sample(picture, identity, (words,)))
    return tuple(samples)


def _caption(row: dict[str, Any], where: str) -> PseudoCaption:
    for name in ("picture_id", "path", "static_caption", "caption"):
        if not isinstance(row[name], str):
            raise CtgiError(f"{where}: {name} is {row[name]!r}, not a text; caption the picture again")
    if row["identity"] is not None and row["identity"] < 0:
        raise CtgiError(f"{where}: identity {row['identity']} is below 0; null says that nobody knows")
    try:
        pairs = tuple(
            AnswerRecord(
                topic=pair["topic"],
                question=pair["question"],
                answer=pair["answer"],
                probability=pair["probability"],
                kept=bool(pair["kept"]),
                reason=pair["reason"],
            )
            for pair in row["pairs"] or ()
        )
    except (KeyError, TypeError) as error:
        raise CtgiError(f"{where}: its pairs lack {error}; is this a pseudo-caption file?") from error
    return PseudoCaption(
        row["picture_id"], row["path"], row["identity"], row["static_caption"], row["caption"], pairs
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
