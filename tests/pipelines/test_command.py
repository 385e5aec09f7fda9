"""`ctgi pipeline`: a thin door in the library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ctgi.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_help_imports_no_kfp() -> None:
    code = (
        "import sys; from ctgi.cli.main import main\n"
        "try: main(['pipeline', '--help'])\n"
        "except SystemExit: pass\n"
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
