"""`ctgi tune`: asks val for dossiers once, chooses, writes into the release, where searches start from."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctgi.cli import mti
from ctgi.cli.main import main


@pytest.fixture
def val(dataset: Path, release: Path) -> Path:
    """The data set with captions that speak of trousers, and a release that can be written into."""
    annotations = dataset / "data_captions.json"
    annotations.write_text(annotations.read_text().replace("clothes", "trousers"))
    facts = {"name": "r", "version": "1", "fingerprint": "f" * 64, "embedding_dim": 5, "context": 77}
    (release / "release.json").write_text(json.dumps({**facts, "mti": {"lam": 0.6, "kept": True}}))
    return dataset


def tune(val: Path, release: Path, *words: str) -> int:
    return main(["tune", str(val), "--layout", "rstpreid", "--release", str(release), *words])


def held(release: Path) -> dict[str, Any]:
    return dict(json.loads((release / "release.json").read_text())["mti"])


def test_dossiers_are_asked_once_and_the_choice_is_written_and_read(
    val: Path, release: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, figure, figures = tmp_path / "val.sqlite", tmp_path / "chosen.png", tmp_path / "f.json"
    flags = ("--judge", "dossier", "--dossiers", str(store), "--k", "4", "--xi", "0.9", "--lam", "0.5",
             "--max-questions", "3", "--doubt", "0.2")  # fmt: skip
    server = ("--server", chat.url, "--model", "m")
    drawn = ("--figure", str(figure), "--reliability", str(tmp_path / "reliable.png"))
    assert tune(val, release, *flags, *server, *drawn, "--json", str(figures)) == 0
    asked = sum(chat.asked.values())
    assert asked == 8 * 13  # eight val pictures, every question of the pool once
    assert figure.exists() and (tmp_path / "reliable.png").exists()
    out = capsys.readouterr().out
    assert "expected calibration error" in out and "chosen on 24 val queries: judge dossier" in out
    written = held(release)
    assert written["kept"] is True and written["dossiers"]["kind"] == "temperature"
    record = written["tuned"]["dossier"]
    assert set(record["settings"]) == {"judge", "temperature", "m"}  # what a flag sets is not chosen
    assert {trial["axis"] for trial in record["curve"]} == {"temperature", "m"}
    assert json.loads(figures.read_text())["settings"] == record["settings"]
    chosen = mti.settings(SimpleNamespace(judge="dossier", m=2), 20, written)  # type: ignore[arg-type]
    assert (chosen.temperature, chosen.m) == (record["settings"]["temperature"], 2)

    assert tune(val, release, *flags) == 0  # without a server: the dossiers are there
    assert sum(chat.asked.values()) == asked and held(release)["tuned"]["dossier"] == record


def test_the_live_judge_is_tuned_from_kept_replies(
    val: Path, release: Path, chat: Any, tmp_path: Path
) -> None:
    flags = ("--judge", "hard", "--k", "4", "--m", "1", "--xi", "2", "--queries", "6", "--wave", "1")
    server = ("--server", chat.url, "--model", "m", "--cache", str(tmp_path / "replies.sqlite"))
    assert tune(val, release, *flags, *server) == 0
    record = held(release)["tuned"]["hard"]
    assert set(record["settings"]) == {"judge", "lam"} and record["queries"] == 6
    asked = sum(chat.asked.values())
    assert tune(val, release, *flags, *server) == 0
    assert sum(chat.asked.values()) == asked and held(release)["tuned"]["hard"] == record


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--judge", "dossier"], "--dossiers FILE"),
        (["--judge", "dossier", "--dossiers", "nowhere.sqlite"], "no dossiers there"),
        ([], "it asks a chat model, name --server and --model"),
        (["--server", "http://127.0.0.1:9/v1", "--model", "m"], "name --cache FILE"),
        (["--lam", "0.5", "--k", "3", "--xi", "0.8", "--m", "1"], "every parameter is set by a flag"),
        (["--split", "test"], "unrecognized arguments"),
    ],
)
def test_what_is_missing_is_said_before_any_work(
    val: Path, release: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    before = held(release)
    assert tune(val, release, *words) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1 and held(release) == before


def test_dossiers_of_other_pictures_are_refused(
    val: Path, release: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.vocabulary import default_facets

    facets = default_facets()
    tables = tuple(np.eye(len(facet.values), dtype=np.float32)[:1] for facet in facets)
    Dossiers(facets, ("other",), tables, "m", "p").save(tmp_path / "val.sqlite")
    assert tune(val, release, "--judge", "dossier", "--dossiers", str(tmp_path / "val.sqlite")) == 2
    assert "8 of 8 val pictures have no dossier" in capsys.readouterr().err
