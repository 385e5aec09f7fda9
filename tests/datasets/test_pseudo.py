from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pseudo import AnswerRecord, pseudo_samples, read_pseudo_captions
from ctgi.errors import CtgiError

PAIR = pa.struct(
    [
        ("topic", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("probability", pa.float64()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("picture_id", pa.string()),
        ("path", pa.string()),
        ("identity", pa.int64()),
        ("static_caption", pa.string()),
        ("caption", pa.string()),
        ("pairs", pa.list_(PAIR)),
        ("model", pa.string()),
        ("calls", pa.int64()),
    ]
)


def row(number: int, identity: int | None, **other: Any) -> dict[str, Any]:
    pair = dict(
        topic="shoes", question="Shoes?", answer="Blue.", probability=0.75, kept=False, reason="redundant"
    )
    return {
        "picture_id": f"{number:064x}",
        "path": f"{number}.png",
        "identity": identity,
        "static_caption": f"short {number}",
        "caption": f"long {number}",
        "pairs": [pair],
        "model": "m",
        "calls": 3,
        **other,
    }


def written(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    for item in rows:
        (folder / item["path"]).write_bytes(b"x")
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "captions.parquet")
    return folder / "captions.parquet"


def test_rows_become_samples(tmp_path: Path) -> None:
    file = written(tmp_path, [row(0, 5), row(1, None), row(2, 5), row(3, None)])
    captions = read_pseudo_captions(file)
    assert captions[0].pairs == (AnswerRecord("shoes", "Shoes?", "Blue.", 0.75, False, "redundant"),)
    assert captions[1].identity is None
    samples = pseudo_samples(captions, tmp_path)
    assert samples[0] == Sample(tmp_path / "0.png", 0, ("long 0",))
    assert [sample.identity for sample in samples] == [0, 1, 0, 2]
    assert pseudo_samples(captions, tmp_path, "static_caption")[3].captions == ("short 3",)


def test_people_whose_pictures_were_not_captioned_leave_no_gap(tmp_path: Path) -> None:
    captions = read_pseudo_captions(written(tmp_path, [row(0, 9), row(1, None), row(2, 4), row(3, 9)]))
    assert [sample.identity for sample in pseudo_samples(captions, tmp_path)] == [1, 2, 0, 1]


def test_pairs_and_probabilities_may_be_absent(tmp_path: Path) -> None:
    silent = [{**row(0, 0)["pairs"][0], "probability": None, "reason": None, "kept": True}]
    captions = read_pseudo_captions(written(tmp_path, [row(0, 0, pairs=silent), row(1, 1, pairs=None)]))
    assert captions[0].pairs[0].probability is None and captions[0].pairs[0].kept
    assert captions[1].pairs == ()


def test_faults_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="no such pseudo-caption file"):
        read_pseudo_captions(tmp_path / "absent.parquet")
    with pytest.raises(CtgiError, match="holds no captions"):
        read_pseudo_captions(written(tmp_path, []))
    with pytest.raises(CtgiError, match="is listed twice"):
        read_pseudo_captions(written(tmp_path, [row(0, 0), row(0, 1)]))
    with pytest.raises(CtgiError, match="picture 0.png is listed twice"):
        read_pseudo_captions(written(tmp_path, [row(0, 0), row(1, 1, path="0.png")]))
    with pytest.raises(CtgiError, match="row 1: identity -1 is below 0"):
        read_pseudo_captions(written(tmp_path, [row(0, -1)]))
    with pytest.raises(CtgiError, match="row 1: caption is None"):
        read_pseudo_captions(written(tmp_path, [row(0, 0, caption=None)]))
    file = written(tmp_path, [row(0, 0)])
    pq.write_table(pq.read_table(file).drop_columns(["caption", "pairs"]), file)
    with pytest.raises(CtgiError, match="no column caption, pairs"):
        read_pseudo_captions(file)
    file.write_text("not parquet")
    with pytest.raises(CtgiError, match="not a readable Parquet file"):
        read_pseudo_captions(file)


def test_a_blank_caption_or_missing_picture_is_refused(tmp_path: Path) -> None:
    captions = read_pseudo_captions(written(tmp_path, [row(0, 0, caption="  ")]))
    with pytest.raises(CtgiError, match="0.png: its caption has no words"):
        pseudo_samples(captions, tmp_path)
    assert pseudo_samples(captions, tmp_path, "static_caption")
    with pytest.raises(CtgiError, match="captioned picture is missing"):
        pseudo_samples(captions, tmp_path / "elsewhere", "static_caption")
