"""`ctgi search`: plain and with MTI, against a chat server that sees the pictures."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctgi.cli.main import main


@pytest.fixture
def gallery(photos: Path, release: Path, tmp_path: Path) -> Path:
    place = tmp_path / "gallery"
    assert main(["index", str(photos), "--release", str(release), "--out", str(place)]) == 0
    return place


def search(gallery: Path, release: Path, *more: str) -> tuple[int, dict[str, Any]]:
    figures = gallery.parent / "search.json"
    code = main(
        ["search", "someone in green clothes", "--gallery", str(gallery), "--release", str(release),
         "--json", str(figures), *more]
    )  # fmt: skip
    return code, json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}


def test_plain_search_says_that_it_is_plain(
    gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    code, figures = search(gallery, release, "--top", "3")
    out = capsys.readouterr().out.splitlines()
    assert code == 0 and "plain search" in out[0] and len(out) == 4
    assert "deep/green" in out[1] and figures["stop_reason"] == "off" and figures["calls"] == 0


def test_mti_shows_before_and_after(
    gallery: Path, release: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip = tmp_path / "strip.png"
    code, figures = search(
        gallery,
        release,
        "--server",
        chat.url,
        "--model",
        "m",
        "--scale",
        "cosine",
        "--xi",
        "2",
        "--save",
        str(strip),
    )
    out = capsys.readouterr().out
    assert code == 0 and figures["stop_reason"] == "refined"
    anchor = figures["paths"][figures["anchor"]]
    assert anchor.startswith("deep/green") and f"anchor: {anchor}" in out
    assert "before MTI" in out and "after MTI" in out and "The person wears green trousers." in out
    assert (
        f"refined query: {figures['refined_query']}" in out and "green trousers" in figures["refined_query"]
    )
    answered = figures["calls"] - figures["abandoned"]
    assert (
        13 < answered <= sum(chat.asked.values()) <= figures["calls"]
    )  # what is called off may have arrived
    assert figures["prompt_tokens"] == 100 * answered
    with Image.open(strip) as drawn:
        assert drawn.width > 300


def test_a_server_that_is_gone_leaves_the_plain_ranking(
    gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, figures = search(
        gallery, release, "--server", "http://127.0.0.1:9/v1", "--model", "m", "--retries", "0"
    )
    out = capsys.readouterr().out
    assert code == 0 and figures["stop_reason"] == "model_failed"
    assert "127.0.0.1:9" in out and "the same ranking" in out


def test_replies_are_kept_on_disk(gallery: Path, release: Path, chat: Any, tmp_path: Path) -> None:
    flags = ("--server", chat.url, "--model", "m", "--cache", str(tmp_path / "replies.sqlite"), "--xi", "2")
    flags = (*flags, "--wave", "1")  # one at a time, so that nothing is called off
    first = search(gallery, release, *flags)[1]
    asked = sum(chat.asked.values())
    second = search(gallery, release, *flags)[1]
    assert sum(chat.asked.values()) == asked and second["cached"] == second["calls"] > 0
    assert second["ranking"] == first["ranking"] and second["prompt_tokens"] == 0


def test_pictures_that_moved_are_found_again(gallery: Path, release: Path, photos: Path, chat: Any) -> None:
    photos.rename(photos.parent / "elsewhere")
    flags = ("--server", chat.url, "--model", "m", "--xi", "2", "--scale", "cosine")
    code, figures = search(gallery, release, *flags)
    assert code == 0 and figures["stop_reason"] == "model_failed" and "--pictures" in figures["note"]
    code, figures = search(gallery, release, *flags, "--pictures", str(photos.parent / "elsewhere"))
    assert code == 0 and figures["stop_reason"] == "refined"


def test_settings_come_from_yaml_and_flags_win(gallery: Path, release: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"gallery: {gallery}\nrelease: {release}\nsearch: {{top: 2, query: red}}\n", encoding="utf-8"
    )
    figures = tmp_path / "f.json"
    assert main(["search", "--config", str(file), "--json", str(figures)]) == 0
    assert json.loads(figures.read_text(encoding="utf-8"))["query"] == "red"
    assert main(["search", "blue", "--config", str(file), "--json", str(figures)]) == 0
    assert json.loads(figures.read_text(encoding="utf-8"))["query"] == "blue"


def test_names_are_shown_on_one_line_whatever_they_hold(
    photos: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {os.fsdecode(b"bad\xff.png"): "bad\\xff.png", "two\n\x1b[31m.png": "two\\x0a\\x1b[31m.png"}
    for number, name in enumerate(names):
        Image.new("RGB", (32, 96), (30, 150 + number, 60)).save(photos / "green.png")
        (photos / "green.png").rename(photos / name)
    place = tmp_path / "gallery"
    strict = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    assert main(["index", str(photos), "--release", str(release), "--out", str(place)]) == 0
    code, figures = search(place, release)
    assert code == 0
    strict.seek(0)
    lines = strict.read().splitlines()
    assert all(sum(shown in line for line in lines) == 1 for shown in names.values())
    assert len([line for line in lines if line[:3].strip().isdigit() and ".png" in line]) == 10
    assert set(names) <= set(figures["paths"].values())  # other programs get the names themselves


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judge", "soft"], "--judge soft asks a chat model"),
        (["--deadline", "3"], "--deadline is for MTI"),
        (["--max-calls", "3"], "--max-calls is for MTI"),
        (["--mti-min-probability", "0.3"], "--mti-min-probability is for MTI"),
        (["--reconstructor-model", "foo"], "--reconstructor-model foo needs a server"),
        (["--server", "http://x/v1", "--model", "m", "--xi", "nan"], "MTI's xi is nan"),
        (["--save", "."], "--save .: is a folder"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    words: list[str], said: str, gallery: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert search(gallery, release, *words)[0] == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
