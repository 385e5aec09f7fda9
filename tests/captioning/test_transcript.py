from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ctgi.captioning.transcript import Pair, Transcript, read_transcript, write_parquet, write_transcript
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.errors import CtgiError

PAIRS = (
    Pair("hat", "A hat?", 'A "blue" cap ❄.', 0.9, True),
    Pair("bag", "A bag?", "Cannot tell.", None, False, "uncertain"),
)
ONE = Transcript(
    picture_id="ab" * 32,
    path="a/1.jpg",
    identity=7,
    static_caption="A man.",
    caption="A man in a cap.",
    pairs=PAIRS,
    model="m",
    prompt_version="answer@1",
    reconstructor="composer@1",
    calls=3,
    prompt_tokens=300,
    completion_tokens=30,
    seconds=0.5,
    recipe="recipe",
)
TWO = replace(ONE, picture_id="cd" * 32, path="2.png", identity=None, pairs=())


def test_json_round_trip(tmp_path: Path) -> None:
    write_transcript(tmp_path, ONE)
    assert read_transcript(tmp_path, ONE.picture_id) == ONE
    assert [path.name for path in tmp_path.iterdir()] == [f"{ONE.picture_id}.json"]
    assert "❄" in (tmp_path / f"{ONE.picture_id}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pairs": []}', '{"pairs": [{"topic": 1}]}', "null"])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{ONE.picture_id}.json").write_text(text)
    assert read_transcript(tmp_path, ONE.picture_id) is None
    assert read_transcript(tmp_path, TWO.picture_id) is None


def test_a_record_under_another_name_is_no_record(tmp_path: Path) -> None:
    write_transcript(tmp_path, ONE)
    (tmp_path / f"{ONE.picture_id}.json").rename(tmp_path / f"{TWO.picture_id}.json")
    assert read_transcript(tmp_path, TWO.picture_id) is None


def test_parquet_schema_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "captions.parquet"
    assert write_parquet(path, [ONE, TWO]) == 2
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    pairs = types.pop("pairs")
    assert types == {
        "picture_id": "string",
        "path": "string",
        "identity": "int64",
        "static_caption": "string",
        "caption": "string",
        "model": "string",
        "prompt_version": "string",
        "reconstructor": "string",
        "calls": "int64",
        "prompt_tokens": "int64",
        "completion_tokens": "int64",
        "seconds": "double",
    }
    assert (
        "topic: string, question: string, answer: string, probability: double, kept: bool, reason: string"
        in pairs
    )
    assert [path.name for path in tmp_path.iterdir()] == ["captions.parquet"]


def test_the_reader_of_pseudo_captions_reads_it(tmp_path: Path) -> None:
    write_parquet(tmp_path / "captions.parquet", [ONE, TWO])
    one, two = read_pseudo_captions(tmp_path / "captions.parquet")
    assert (one.picture_id, one.path, one.identity, one.static_caption, one.caption) == (
        ONE.picture_id,
        "a/1.jpg",
        7,
        "A man.",
        "A man in a cap.",
    )
    assert [(p.topic, p.answer, p.probability, p.kept, p.reason) for p in one.pairs] == [
        (p.topic, p.answer, p.probability, p.kept, p.reason) for p in PAIRS
    ]
    assert two.identity is None and two.pairs == ()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="nowhere"):
        write_transcript(tmp_path / "nowhere", ONE)
    with pytest.raises(CtgiError, match="nowhere"):
        write_parquet(tmp_path / "nowhere" / "captions.parquet", [ONE])
