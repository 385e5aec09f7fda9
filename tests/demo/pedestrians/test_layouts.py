"""The three annotation layouts, field by field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.pedestrians.layouts import ANNOTATION_FILES, Record, write_layout

RECORDS = [
    Record("0001_c1_0001.jpg", 0, "train", ("A woman in red.", "Has a hat.")),
    Record("0002_c3_0002.jpg", 1, "train", ("A man.", "Wears a t-shirt.")),
    Record("0003_c2_0003.jpg", 2, "val", ("A lady.", "Not tall.")),
    Record("0004_c2_0004.jpg", 3, "test", ("A guy.", "No bag.")),
]


def _written(root: Path, layout: str) -> list[dict[str, object]]:
    path = write_layout(root, layout, RECORDS)
    assert path == root / ANNOTATION_FILES[layout]
    rows: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def test_rstpreid(tmp_path: Path) -> None:
    rows = _written(tmp_path, "rstpreid")
    assert [(row["id"], row["split"]) for row in rows] == [
        (0, "train"),
        (1, "train"),
        (2, "val"),
        (3, "test"),
    ]
    assert rows[3] == {
        "id": 3,
        "img_path": "0004_c2_0004.jpg",
        "captions": ["A guy.", "No bag."],
        "split": "test",
    }


def test_cuhk_pedes_counts_from_one(tmp_path: Path) -> None:
    rows = _written(tmp_path, "cuhk-pedes")
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert rows[1] == {
        "split": "train",
        "captions": ["A man.", "Wears a t-shirt."],
        "file_path": "0002_c3_0002.jpg",
        "processed_tokens": [["a", "man"], ["wears", "a", "t-shirt"]],
        "id": 2,
    }


def test_icfg_pedes_has_no_validation_split_and_one_caption(tmp_path: Path) -> None:
    rows = _written(tmp_path, "icfg-pedes")
    assert [(row["id"], row["split"], row["captions"]) for row in rows] == [
        (0, "train", ["A woman in red."]),
        (1, "train", ["A man."]),
        (3, "test", ["A guy."]),
    ]


@pytest.mark.parametrize(
    ("layout", "records", "reason"),
    [
        ("market", RECORDS, "no such layout: 'market'"),
        ("rstpreid", [Record("a.jpg", 0, "tset", ("x",))], "no such split: 'tset'"),
        ("rstpreid", [Record("a.jpg", 0, "train", ())], "needs a caption"),
        ("rstpreid", [Record("a.jpg", 0, "train", (" ",))], "needs a caption"),
        ("rstpreid", [*RECORDS, Record("a.jpg", 0, "test", ("x",))], "identity 0 is in two splits"),
        ("rstpreid", [Record("a.jpg", 1, "train", ("x",))], "without a gap"),
    ],
)
def test_what_no_reader_would_take_is_not_written(
    tmp_path: Path, layout: str, records: list[Record], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        write_layout(tmp_path, layout, records)
    assert not list(tmp_path.iterdir())
