"""Lineage records of commands: known before the work, from digests that are at hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ctgi.captioning.transcript import Transcript, write_parquet
from ctgi.cli.main import main
from ctgi.cli.records import captions_record, gallery_record, pictures_digest
from ctgi.export.lineage import lineage, write_lineage


def captions(path: Path, *models: str) -> Path:
    rows = [
        Transcript(
            f"{number:064x}", f"{number}.png", None, "A woman.", "A woman in red.", (), model, "i@1",
            "rules@2", 1, 2, 3, 0.5,
        )
        for number, model in enumerate(models)
    ]  # fmt: skip
    write_parquet(path, rows)
    return path


def test_captions_say_which_models_and_prompts_made_them(tmp_path: Path) -> None:
    record = captions_record(captions(tmp_path / "c.parquet", "b", "a", "b"), {"rows": 3})
    assert record["settings"] == {"model": "a, b"}
    assert record["prompts"] == {"interview": "i@1", "reconstructor": "rules@2"}
    ids = "\n".join(f"{number:064x}" for number in range(3))
    assert record["inputs"] == {"pictures": {"digest": f"sha256:{hashlib.sha256(ids.encode()).hexdigest()}"}}
    assert captions_record(captions(tmp_path / "none.parquet"), {})["settings"] == {"model": ""}


def test_a_gallery_is_known_by_its_pictures_in_any_order() -> None:
    one, other = (gallery_record(ids, "f" * 64, {}, {}) for ids in (["a", "b"], ["b", "a"]))
    assert one["inputs"] == other["inputs"] == {"pictures": {"digest": pictures_digest("ab")}}
    assert one["metrics"] == {"pictures": 2}


def test_a_damaged_record_stops_the_work_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = captions(tmp_path / "c.parquet", "m")
    beside = write_lineage(file, lineage("captions", {}))
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "seed": 5}), encoding="utf-8")
    words = ["train", str(file), "--pictures", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*words, "--encoder", "ViT-B-16-quickgelu", "--weights", "openai"]) == 2
    said = capsys.readouterr().err
    assert "c.parquet.lineage.json: not a lineage record" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
