"""YAML under the flags: flags win, sections belong to commands, mistakes are one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ctgi.cli import config
from ctgi.errors import CtgiError


def parse(tmp_path: Path, yaml: str, *words: str, command: str = "search") -> argparse.Namespace:
    file = tmp_path / "run.yaml"
    file.write_text(yaml, encoding="utf-8")
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    parser.add_argument("query", nargs="?")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--lam", type=float)
    parser.add_argument("--layout", choices=("a", "b"))
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--kinds", nargs="+", type=int)
    all_words = ["--config", str(file), *words]
    config.apply(parser, command, all_words)
    return parser.parse_args(all_words)


def test_the_file_gives_and_the_flag_wins(tmp_path: Path) -> None:
    options = parse(tmp_path, "top-k: 5\nlam: 1\nfast: true\nkinds: [1, 2]\nquery: a man\n", "--top-k", "7")
    assert (options.top_k, options.lam, options.fast, options.kinds) == (7, 1.0, True, [1, 2])
    assert options.query == "a man" and options.layout is None


def test_underscores_are_dashes(tmp_path: Path) -> None:
    assert parse(tmp_path, "top_k: 3").top_k == 3


def test_a_section_is_its_commands_alone(tmp_path: Path) -> None:
    yaml = "lam: 0.3\nepochs: 4\nsearch: {top-k: 2}\ntrain: {top-k: 9, epochs: 1}\n"
    options = parse(tmp_path, yaml)  # `epochs`, beside the sections, is for commands that have it
    assert options.top_k == 2 and options.lam == 0.3


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("top-kk: 5", "no setting 'top-kk'; did you mean top-k"),
        ("search: {lamda: 5}", "did you mean lam"),
        ("top-k: many", "'many' is no value"),
        ("top-k: [1]", "is a list"),
        ("kinds: 1", "is not a list"),
        ("fast: 3", "neither true nor false"),
        ("layout: c", "choose one of a, b"),
        ("lam: true", "no value"),
        ("- a\n- b", "not a mapping"),
        ("search: 3", "section 'search'"),
        ("a: b: c", "not YAML in line 1"),
        ("config: other.yaml", "no setting 'config'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, yaml: str, said: str) -> None:
    with pytest.raises(CtgiError, match="run.yaml") as caught:
        parse(tmp_path, yaml)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_no_code_runs_from_yaml(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="not YAML"):
        parse(tmp_path, "lam: !!python/object/apply:os.getcwd []")


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert parse(tmp_path, "").top_k == 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    with pytest.raises(CtgiError, match="nowhere.yaml"):
        config.apply(parser, "search", ["--config", str(tmp_path / "nowhere.yaml")])


def test_what_is_needed_may_come_from_either(tmp_path: Path) -> None:
    options = argparse.Namespace(command="search", gallery=None, release="r")
    config.need(options, release="no release")
    with pytest.raises(CtgiError, match="no gallery was named.*ctgi search --help"):
        config.need(options, gallery="no gallery was named")
