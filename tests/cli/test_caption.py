"""`ctgi caption`: any folder of pictures, resumed for free, estimated for free."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions
from ctgi.storage.alone import alone
from tests.chat_server import Reply, answer, chat_server, error

POOL = """
version: 1
topics:
  - {topic: hat, question: "Is there a hat?", priority: 1, cues: [hat], fragment: "A hat: {answer}."}
  - {topic: bag, question: "Is there a bag?", priority: 1, cues: [bag], fragment: "A bag: {answer}."}
"""


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


def test_two_runs_do_not_share_a_folder(
    photos: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", str(photos), "--server", chat.url, "--model", "m", "--out", str(tmp_path / "o")]
    with alone(tmp_path / "o", "--out"):
        assert main(words) == 2
        assert "another run is at work there" in capsys.readouterr().err and not chat.asked
        assert main([*words, "--dry-run"]) == 0  # which writes nothing
    assert main(words) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "val"], "name its --layout"),
        (["--reconstructor-model", "foo"], "--reconstructor-model foo needs a server"),
        (["--reconstructor-price-prompt", "1"], "needs --reconstructor-server"),
        (["--min-probability", "3"], "'3': give a number from 0 to 1"),
        (["--min-probability", "nan"], "'nan' is no number"),
        (["--rounds", "600"], "--rounds 600: the pool has 13 questions; give 1 to 13"),
        (["--rounds", "0"], "'0': give a whole number from 1"),
        (["--price-prompt", "-1"], "'-1': give a number from 0 to"),
        (["--timeout", "0"], "'0': give a number of seconds above 0"),
        (["--retries", "-1"], "'-1': give a whole number from 0"),
    ],
)
def test_what_cannot_be_or_would_be_passed_over_is_refused(
    words: list[str], said: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["caption", str(photos), "--out", str(tmp_path / "o"), "--dry-run"]
    assert main([*given, *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_figures_that_could_not_be_written_are_refused_before_anything_is_asked(
    photos: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--server", chat.url, "--model", "m"]
    assert main([*words, "--json", str(tmp_path / "file" / "f.json")]) == 2
    assert "--json" in (said := capsys.readouterr().err) and "is no folder" in said and not chat.asked


def test_rows_that_a_smaller_run_leaves_out_are_told(
    photos: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--server", chat.url, "--model", "m"]
    assert main(words) == 0
    assert "before;" not in capsys.readouterr().out
    asked = sum(chat.asked.values())
    assert main([*words, "--limit", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 captions" in out and "the file had 8 before; it holds this run's pictures alone" in out
    assert main(words) == 0 and sum(chat.asked.values()) == asked
    assert len(read_pseudo_captions(tmp_path / "o" / "captions.parquet")) == 8


def test_another_models_records_are_no_measure(
    photos: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--server", chat.url, "--model"]
    assert main([*words, "m", "--limit", "2"]) == 0
    for model, basis in (("m", "from earlier records"), ("n", "by rule of thumb")):
        capsys.readouterr()
        assert main([*words, model, "--dry-run"]) == 0
        assert basis in capsys.readouterr().out


@pytest.mark.parametrize(("patience", "code"), [("30", 0), ("0", 2)])
def test_a_server_that_restarts_is_waited_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: str, code: int
) -> None:
    down_until = 0.0

    def script(body: dict[str, Any], number: int) -> Reply:
        nonlocal down_until
        if number == 3:
            down_until = time.monotonic() + 0.6
        return error(503) if time.monotonic() < down_until else answer(body)

    monkeypatch.setenv("CTGI_CHAT_PATIENCE", patience)
    with chat_server(script) as server:
        words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--server", server.url, "--model", "m"]
        assert main([*words, "--limit", "1", "--retries", "0", "--concurrency", "1"]) == code


def test_a_wrong_address_is_said_at_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--server", "http://127.0.0.1:9/v1"]
    began = time.monotonic()
    assert main([*words, "--model", "m", "--retries", "0"]) == 2
    assert time.monotonic() - began < 20 and "is the server running?" in capsys.readouterr().err


def test_a_pool_smaller_than_the_usual_number_of_questions_is_asked_whole(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL, encoding="utf-8")
    words = ["caption", str(photos), "--out", str(tmp_path / "o"), "--questions", str(pool), "--dry-run"]
    assert main(words) == 0
    assert "with up to 2 questions each" in capsys.readouterr().out
    assert main([*words, "--rounds", "3"]) == 2
    assert "the pool has 2 questions; give 1 to 2" in capsys.readouterr().err
