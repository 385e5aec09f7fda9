"""What every command does alike: help, one-line errors, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ctgi import __version__
from ctgi.cli import search
from ctgi.cli.commands import COMMANDS
from ctgi.cli.main import main
from ctgi.cli.pipeline import VERBS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_shows_an_example_of_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _helped([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"  ctgi {command} " in shown.partition("examples:")[2]
    if command == "pipeline":  # what its verbs have, itself does not
        assert "--config" not in shown.partition("examples:")[0] and "--json" not in shown
        assert _helped([command, "run", "--help"]) == 0
        shown = capsys.readouterr().out
    assert "--config" in shown and "--json" in shown


def _helped(words: list[str]) -> object:
    try:
        return main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("command", ["caption", "evaluate", "ablate"])
def test_what_costs_money_can_be_estimated(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--dry-run" in capsys.readouterr().out


def test_flags_in_examples_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        _helped([command, "--help"])
        usage, _, examples = capsys.readouterr().out.partition("examples:")
        for verb in VERBS if command == "pipeline" else ():  # its verbs have flags of their own
            _helped([command, verb, "--help"])
            usage += capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", examples):
            assert flag in usage, f"ctgi {command} has no {flag}"


def test_version_and_bare_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"ctgi {__version__}\n"
    assert main([]) == 0
    assert all(command in capsys.readouterr().out for command in ["caption"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["find"], "invalid choice: 'find'"),
        (["search"], "nothing was described"),
        (["search", "a man"], "no gallery was named"),
        (["search", "a man", "--tpo", "3"], "unrecognized arguments: --tpo"),
        (["search", "a man", "--top", "0"], "--top"),
        (
            ["search", "a man", "--gallery", "g", "--release", "r", "--server", "http://x/v1"],
            "--model NAME is missing",
        ),
        (["search", "a man", "--gallery", "g", "--release", "nowhere"], "nowhere: no release there"),
        (["index", "nowhere", "--release", "r", "--out", "g"], "nowhere"),
        (["caption", "nowhere", "--out", "o", "--server", "http://x/v1", "--model", "m"], "nowhere"),
        (["evaluate", ".", "--release", "r"], "name its layout"),
        (["evaluate", ".", "--layout", "rstpreid", "--release", "r"], "data_captions.json"),
        (["export", "--out", "r"], "nothing to do"),
        (["train", "c", "--out", "o", "--encoder", "e", "--epochs", "0"], "epochs"),
        (["ablate", ".", "--out", "o"], "no captions were named"),
        (["search", "a", "--config", "no.yaml"], "no.yaml"),
        (["search", "a", "--config"], "expected one argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("ctgi: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.glob("o*"))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "ctgi: interrupted"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), 2, "pip install 'ctgi[search]'"),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), 2, "pip install 'ctgi[train]'"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "ctgi: /x/y: Permission denied"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
    ],
)
def test_no_traceback(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(search, "run", fail)
    assert main(["search", "a man"]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ModuleNotFoundError("No module named 'ctgi.nowhere'", name="ctgi.nowhere")

    monkeypatch.setattr(search, "run", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["search", "a man"])
