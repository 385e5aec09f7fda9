"""Figures as JSON: what was printed, in JSON's own types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ctgi.cli.figures import plain, ready, write_figures
from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Row:
    name: str
    scores: tuple[float, ...]


def test_figures_are_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "figures.json"
    write_figures(file, "search", {"row": Row("a", (0.5, float("nan"))), "n": np.int64(3), "v": np.ones(2)})
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written == {
        "command": "search",
        "version": written["version"],
        "row": {"name": "a", "scores": [0.5, None]},
        "n": 3,
        "v": [1.0, 1.0],
    }
    assert [p.name for p in file.parent.iterdir()] == ["figures.json"]


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    write_figures(None, "search", {"a": 1})
    assert not list(tmp_path.iterdir())


def test_plain_leaves_nothing_that_json_cannot_say() -> None:
    assert plain({"p": Path("a/b"), 1: {2}, "f": float("inf"), "b": True}) == {
        "p": "a/b",
        "1": [2],
        "f": None,
        "b": True,
    }


def test_a_file_that_could_not_be_written_is_named_with_its_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    ready(json=None, save=tmp_path / "new" / "deep" / "strip.png")
    ready(json=tmp_path / "file")  # it is replaced
    assert not (tmp_path / "new").exists()
    for path, reason in ((tmp_path, "is a folder"), (tmp_path / "file" / "a" / "b", "is no folder")):
        with pytest.raises(CtgiError, match=f"--save .*{reason}"):
            ready(json=None, save=path)
