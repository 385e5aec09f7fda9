"""Writes the annotation files of CUHK-PEDES, ICFG-PEDES and RSTPReid, so that their readers serve here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")

#: Layout -> name of its annotation file, beside the picture folder ``imgs``.
ANNOTATION_FILES = {
    "cuhk-pedes": "reid_raw.json",
    "icfg-pedes": "ICFG-PEDES.json",
    "rstpreid": "data_captions.json",
}
PICTURE_FOLDER = "imgs"


@dataclass(frozen=True)
class Record:
    """One picture. ``path`` is relative to ``imgs``; identities count from 0, those of train first."""

    path: str
    identity: int
    split: str
    captions: tuple[str, ...]


def write_layout(root: Path, layout: str, records: Sequence[Record]) -> Path:
    """Write ``records`` as ``layout``'s annotation file under ``root`` (atomically) and return its path.

    CUHK-PEDES counts identities from 1, the others from 0. ICFG-PEDES knows no validation split and one
    caption a picture: records of "val" are left out, the first caption is taken. Raises ValueError for an
    unknown layout or split, a picture without a caption, an identity in two splits, and if the training
    identities are not exactly 0 .. n-1, which the layouts ask for.
    """
    if layout not in ANNOTATION_FILES:
        raise ValueError(f"no such layout: {layout!r}; known: {', '.join(ANNOTATION_FILES)}")
    _check(records)
    root.mkdir(parents=True, exist_ok=True)
    path = root / ANNOTATION_FILES[layout]
    rows = [_row(layout, record) for record in records if (layout, record.split) != ("icfg-pedes", "val")]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)
    return path


def _row(layout: str, record: Record) -> dict[str, Any]:
    captions = list(record.captions)
    if layout == "rstpreid":
        return {
            "id": record.identity,
            "img_path": record.path,
            "captions": captions,
            "split": record.split,
        }
    if layout == "icfg-pedes":
        captions = captions[:1]
    return {
        "split": record.split,
        "captions": captions,
        "file_path": record.path,
        "processed_tokens": [re.findall(r"[\w'-]+", caption.lower()) for caption in captions],
        "id": record.identity + (layout == "cuhk-pedes"),
    }


def _check(records: Sequence[Record]) -> None:
    split_of: dict[int, str] = {}
    for record in records:
        if record.split not in SPLITS:
            raise ValueError(f"{record.path}: no such split: {record.split!r}; known: {', '.join(SPLITS)}")
        if not record.captions or not all(caption.strip() for caption in record.captions):
            raise ValueError(f"{record.path}: a picture needs a caption that is not empty")
        if split_of.setdefault(record.identity, record.split) != record.split:
            raise ValueError(f"{record.path}: identity {record.identity} is in two splits")
    train = sorted(identity for identity, split in split_of.items() if split == "train")
    if train != list(range(len(train))):
        raise ValueError("training identities must be 0, 1, 2 ... without a gap")
