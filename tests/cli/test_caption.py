"""`ctgi caption`: any folder of pictures, resumed for free, estimated for free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions


def test_a_folder_is_captioned_once(
    photos: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "notes.txt").write_text("no picture", encoding="utf-8")
    out, figures = tmp_path / "captions", tmp_path / "caption.json"
    words = ["caption", str(photos), "--out", str(out), "--server", chat.url, "--model", "m", "--rounds", "3",
             "--json", str(figures)]  # fmt: skip
    assert main(words) == 0
    captions = read_pseudo_captions(out / "captions.parquet")
    assert len(captions) == 8 and all("jacket" in row.caption for row in captions)
    assert len(pseudo_samples(captions, photos)) == 8
    first = json.loads(figures.read_text(encoding="utf-8"))
    assert (first["captioned"], first["skipped"], first["calls"]) == (8, 1, sum(chat.asked.values()))
    assert chat.asked["describe"] == 8 and "8 captions" in capsys.readouterr().out
    asked = sum(chat.asked.values())
    assert main(words) == 0
    again = json.loads(figures.read_text(encoding="utf-8"))
    assert (again["captioned"], again["resumed"], again["calls"]) == (0, 8, 0)
    assert sum(chat.asked.values()) == asked


def test_a_data_set_keeps_its_identities(dataset: Path, tmp_path: Path, chat: Any) -> None:
    out = tmp_path / "captions"
    words = ["caption", str(dataset), "--layout", "rstpreid", "--out", str(out), "--server", chat.url,
             "--model", "m", "--rounds", "1"]  # fmt: skip
    assert main(words) == 0
    captions = read_pseudo_captions(out / "captions.parquet")
    assert {row.identity for row in captions} == {0, 1, 2, 3} and len(captions) == 8
    assert len(pseudo_samples(captions, dataset / "imgs")) == 8


def test_dry_run_asks_nobody_and_needs_no_server(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "dry.json"
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--dry-run", "--price-prompt", "1000000",
             "--json", str(figures)]  # fmt: skip
    assert main(words) == 0
    estimate = json.loads(figures.read_text(encoding="utf-8"))
    assert estimate["calls"] == {"describe": 8, "answer": 48}
    assert estimate["cost"] == pytest.approx(estimate["prompt_tokens"], rel=1e-3)
    assert "56" in capsys.readouterr().out and not (tmp_path / "o").exists()


def test_results_inside_the_folder_are_not_taken_for_pictures(
    photos: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", str(photos), "--server", chat.url, "--model", "m", "--rounds", "1", "--out"]
    for _ in range(2):
        assert main([*words, str(photos / "captions")]) == 0
        assert "8 captions" in (said := capsys.readouterr().out) and "0 skipped" in said
    assert main([*words, str(photos)]) == 2
    assert "results would lie among the pictures" in capsys.readouterr().err
