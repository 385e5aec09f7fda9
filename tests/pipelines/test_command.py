"""`ctgi pipeline`: a thin door in the library."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctgi.cli import pipeline
from ctgi.cli.main import main
from pipelines import command, compiling, here, preflight, remote

ROOT = Path(__file__).resolve().parents[2]


def test_help_imports_no_kfp() -> None:
    code = (
        "import sys; from ctgi.cli.main import main\n"
        "main(['pipeline', '--help'])\n"
        "assert 'argparse' in sys.modules and not {'kfp', 'pipelines', 'yaml', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("missing", ["pipelines", "kfp", "kfp.kubernetes"])
def test_what_is_not_installed_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else original(name))
    assert main(["pipeline", "compile"]) == 2
    err = capsys.readouterr().err
    assert "ctgi[pipelines]" in err and err.count("\n") == 1


def _printed() -> Iterator[Any]:
    """Every `ctgi pipeline …` of the pages and of the two helps, in a block or in the text."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")}
    texts |= {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    texts |= {"ctgi's help": pipeline.EXAMPLES, "the pipelines' help": command.EXAMPLES}
    for name, text in texts.items():
        for found in re.findall(r"(?:^ *|`)ctgi (pipeline [^`\n]+)", text, re.MULTILINE):
            yield pytest.param(shlex.split(found, comments=True), id=f"{name}: {found[:40]}")


PRINTED = list(_printed())


@pytest.mark.parametrize("words", PRINTED)
def test_a_printed_command_does_what_the_pipelines_own_command_does(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings that docs/pipelines.md prints, up to where the run or the cluster begins."""
    page = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    for name, block in zip(
        ("run.yaml", "cluster.yaml"), re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S), strict=True
    ):
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    begun: list[Any] = []

    def began(*given: Any, **more: Any) -> Any:
        begun.append((given, more))
        return SimpleNamespace(ok=True, steps={}, seconds=0.0, log="", changed=True, removed=0, id="1")

    for place, name in ((here, "run"), (remote, "submit"), (remote, "schedule")):
        monkeypatch.setattr(place, name, began)
    monkeypatch.setattr(compiling, "write", lambda *given: begun.append(given) or [])
    monkeypatch.setattr(compiling, "differences", lambda *given: begun.append(given))
    monkeypatch.setattr(preflight, "check_here", lambda *given: [])
    monkeypatch.setattr(preflight, "check_there", lambda *given: [])
    connection = SimpleNamespace(client="client", version="2.17")
    monkeypatch.setattr(remote, "connected", lambda *given: contextlib.nullcontext(connection))
    assert main(words) == 0 and command.main(words[1:]) == 0
    assert len(begun) == 2 and begun[0] == begun[1]
    if "run.yaml" in words:
        assert "/mnt/ctgi/work" in json.dumps(begun[0], default=str)


def test_printed_commands_were_found() -> None:
    assert {words.values[0][1] for words in PRINTED} == set(pipeline.VERBS) and len(PRINTED) > 14


def test_flags_before_the_verb_are_the_pipelines_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "figures.json", "compile"]
    assert main(["pipeline", *words]) == command.main(words) == 2
    one, other = capsys.readouterr().err.splitlines()
    assert one == other
    with pytest.raises(SystemExit):
        main(["--version", "pipeline"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dance"], "invalid choice"),
        (["run", "ctgi_train"], "--local --docker is required"),
        (["run", "ctgi_dance", "--local"], "ctgi_dance"),
        (["run", "ctgi_train", "--local"], "needs pictures"),
        (["submit", "ctgi_train"], "--host"),
        (["compile", "--cluster", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_compile_writes_files_and_compares_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.compiling.texts", lambda cluster: {"a.yaml": cluster.image, "b.yaml": "b"})
    words = ["pipeline", "compile", "--out", str(tmp_path)]
    assert main([*words, "--check"]) == 2
    assert "a.yaml, b.yaml" in capsys.readouterr().err
    assert main(words) == 0 and main([*words, "--check"]) == 0
    (tmp_path / "cluster.yaml").write_text("image: other:1\n", encoding="utf-8")
    assert main([*words, "--check", "--cluster", str(tmp_path / "cluster.yaml")]) == 2
    assert "compiled now: a.yaml;" in capsys.readouterr().err
