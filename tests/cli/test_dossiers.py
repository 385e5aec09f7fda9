"""`ctgi index --dossiers`, `ctgi search --dossiers --explain`, with a chat server that sees the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.interaction.dossier import Dossiers


@pytest.fixture(scope="module")
def answered() -> dict[str, bytes]:
    """The dossiers of the photos, once they have been made: their pixels are the same in every test."""
    return {}


@pytest.fixture
def gallery(photos: Path, release: Path, tmp_path: Path, chat: Any, answered: dict[str, bytes]) -> Path:
    place = tmp_path / "gallery"
    if not answered:
        assert index(photos, release, place, chat) == 0
        assert chat.asked == {"answer": 8 * 13}
        answered["dossiers.sqlite"] = (place / "dossiers.sqlite").read_bytes()
        return place
    assert main(["index", str(photos), "--release", str(release), "--out", str(place)]) == 0
    (place / "dossiers.sqlite").write_bytes(answered["dossiers.sqlite"])
    return place


def index(photos: Path, release: Path, place: Path, chat: Any, *more: str) -> int:
    where = [str(photos), "--release", str(release), "--out", str(place)]
    return main(["index", *where, "--dossiers", "--server", chat.url, "--model", "m", *more])


def search(
    gallery: Path, release: Path, *more: str, query: str = "green trousers, no hat"
) -> tuple[int, dict[str, Any]]:
    figures = gallery.parent / "search.json"
    figures.unlink(missing_ok=True)
    code = main(
        ["search", query, "--gallery", str(gallery), "--release", str(release), "--json", str(figures), *more]
    )
    return code, json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}


def test_pictures_are_asked_once_and_the_gallery_keeps_their_answers(
    gallery: Path, photos: Path, release: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.asked.clear()
    assert index(photos, release, gallery, chat) == 0
    assert not chat.asked
    assert "0 asked (0 of them again), 8 known, 0 skipped; 0 calls" in capsys.readouterr().out
    dossiers = Dossiers.load(gallery / "dossiers.sqlite")
    assert len(dossiers) == 8 and dossiers.model == "m"


def test_another_model_asks_again_and_what_is_gone_is_forgotten(
    gallery: Path, photos: Path, release: Path, chat: Any, tmp_path: Path
) -> None:
    (photos / "red0.png").unlink()
    figures = tmp_path / "index.json"
    arguments = ["--prune", "--json", str(figures), "--model", "m2"]
    assert index(photos, release, gallery, chat, *arguments) == 0
    told = json.loads(figures.read_text(encoding="utf-8"))["dossiers"]
    assert (told["asked"], told["stale"], told["calls"]) == (7, 7, 91) and told["bytes_per_picture"] > 0
    assert len(Dossiers.load(gallery / "dossiers.sqlite")) == 7


def test_dossiers_find_without_a_call_and_are_explained(
    gallery: Path, release: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = sum(chat.asked.values())
    code, figures = search(gallery, release, "--dossiers", "--explain", "2", "--xi", "2")
    out = capsys.readouterr().out
    assert code == 0 and sum(chat.asked.values()) == asked and figures["calls"] == 0
    top = figures["ranking"]["ids"][0]
    assert "green" in figures["paths"][top] and figures["anchors"][0]["id"] == figures["anchor"]
    assert "fits         “green trousers”: colour green" in out
    assert 'not seen     “no hat”: its answer: "Cannot tell."' in out
    explained = figures["explained"][top]
    assert {detail["verdict"] for detail in explained} == {"supports", "unseen"} and len(
        figures["explained"]
    ) == 2


def test_what_speaks_against_a_hit_is_said(
    gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(gallery, release, "--explain", query="white clothes, red trousers")[0] == 0
    out = capsys.readouterr().out
    assert "plain search" in out and "contradicts  “red trousers”: colour white" in out


def test_a_query_that_says_nothing_known_is_said_to_be_so(
    gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, figures = search(gallery, release, "--dossiers", "--explain", query="the usual suspect")
    assert code == 0 and figures["stop_reason"] == "nothing_read"
    assert "says nothing that the dossiers know of" in capsys.readouterr().out


def test_the_release_decides_what_no_flag_says(gallery: Path, release: Path) -> None:
    tuned = {"dossier": {"settings": {"judge": "dossier", "k": 3, "m": 2}}, "hard": {"settings": {"k": 7}}}
    (release / "mti.json").write_text(json.dumps({"tuned": tuned}), encoding="utf-8")
    assert len(search(gallery, release, "--dossiers")[1]["judged"]) == 3
    assert len(search(gallery, release, "--dossiers", "--k", "5")[1]["judged"]) == 5
    assert len(search(gallery, release, "--judge", "dossier")[1]["judged"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--m", "0"], "MTI's m is 0"),
        (["--doubt", "0"], "MTI's doubt is 0.0"),
        (["--doubt", "1"], "MTI's doubt is 1.0"),
        (["--temperature", "0"], "MTI's temperature is 0.0"),
        (["--weight", "-1"], "MTI's weight is -1.0"),
        (["--weight", "nan"], "MTI's weight is nan"),
        (["--judge", "harsh"], "invalid choice: 'harsh'"),
        (["--explain", "0"], "give a whole number from 1"),
    ],
)
def test_a_wrong_setting_is_one_line(
    gallery: Path, release: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(gallery, release, "--dossiers", *arguments)[0] == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]


def test_without_dossiers_it_is_said_how_to_make_them(
    photos: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "bare"
    assert main(["index", str(photos), "--release", str(release), "--out", str(place)]) == 0
    for flag in ("--dossiers", "--explain", "--converse", "--judge=dossier"):
        assert search(place, release, flag)[0] == 2
        assert "ctgi index --dossiers" in capsys.readouterr().err


def test_a_model_and_dossiers_go_together(
    photos: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["index", str(photos), "--release", str(release), "--out", str(tmp_path / "g")]
    assert main([*common, "--dossiers"]) == 2 and "--dossiers needs" in capsys.readouterr().err
    assert main([*common, "--server", "http://localhost:9", "--model", "m"]) == 2
    assert "are for --dossiers" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()


def test_a_server_that_is_gone_leaves_the_gallery(
    photos: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "g"
    arguments = ["--dossiers", "--server", "http://127.0.0.1:9/v1", "--model", "m", "--retries", "0"]
    assert main(["index", str(photos), "--release", str(release), "--out", str(place), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "127.0.0.1:9" in error and "run again to go on" in error
    assert search(place, release)[0] == 0
    assert search(place, release, "--dossiers")[0] == 2


def test_a_broken_dossier_file_is_one_line(
    gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (gallery / "dossiers.sqlite").write_bytes(b"broken " * 400)
    assert search(gallery, release, "--dossiers")[0] == 2
    assert "dossiers.sqlite" in capsys.readouterr().err
