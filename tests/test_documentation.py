"""What the documentation tells people to type is accepted as it is printed."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctgi.cli.commands import COMMANDS
from ctgi.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What the loops of the pages go over, and what is left out.
_MEANT = {"$layout": "rstpreid", "$d": "RSTPReid", "$m": "irra", "--out run/ …": "--out run/"}
_COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ +)*(?:torchrun .* -m +)?ctgi +(.+)$")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `ctgi` command in the page's blocks, without comments and shell operators."""
    for block in _FENCED.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if found := _COMMAND.match(line.strip().removeprefix("$ ")):
                text = found[1]
                for name, value in _MEANT.items():
                    text = text.replace(name, value)
                words = shlex.split(text, comments=True)
                ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&", "&", ";")]
                yield words[: ends[0]] if ends else words


PRINTED = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words[:2])}")
    for page in PAGES
    for words in commands(page)
]


def test_commands_were_found() -> None:
    assert len(PRINTED) > 30


@pytest.mark.parametrize("words", PRINTED)
def test_a_printed_command_is_accepted(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the moment where it would begin to work; settings files of the pages are read as empty ones."""
    assert words[0] in COMMANDS
    monkeypatch.chdir(tmp_path)
    for option, value in zip(words, words[1:], strict=False):
        if option == "--config":
            (tmp_path / value).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / value).write_text("{}\n", encoding="utf-8")
    monkeypatch.setattr(importlib.import_module(f"ctgi.cli.{words[0]}"), "run", lambda options: 0)
    try:
        code: object = main(words)
    except SystemExit as end:  # --help, --version
        code = end.code
    assert code == 0, capsys.readouterr().err
