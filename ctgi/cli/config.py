"""Settings from a YAML file, under the flags: what a flag says wins.

Keys are the long flags without their dashes (`batch-size` or `batch_size`). One file can serve several
commands: a section named like a command belongs to it, and keys beside the sections belong to every command
that has them.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctgi.cli.commands import COMMANDS
from ctgi.errors import CtgiError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that every command has."""
    parser.add_argument("--config", metavar="YAML", help="settings from a file; flags win over it")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write every figure that is printed to FILE, too"
    )


def apply(parser: argparse.ArgumentParser, command: str, words: Sequence[str]) -> None:
    """Make the settings of the file that `--config` names the defaults of `parser`.

    Raises CtgiError for a file that is missing or no mapping, and for a setting that the command does not
    know.
    """
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    peek.add_argument("--config")
    try:
        path = peek.parse_known_args(list(words))[0].config
    except argparse.ArgumentError:  # `--config` without a file: the command's own parser says so
        return
    if path is not None:
        parser.set_defaults(**_settings(parser, command, Path(path)))


def need(options: argparse.Namespace, **described: str) -> None:
    """Raise CtgiError for the first of these settings that neither a flag nor the file gave.

    They are not argparse's `required`, since the file may give them.
    """
    for name, what in described.items():
        if getattr(options, name) is None:
            raise CtgiError(f"{what} (see ctgi {options.command} --help)")


def _settings(parser: argparse.ArgumentParser, command: str, path: Path) -> dict[str, Any]:
    content = _read(path)
    own = content.get(command, {})
    if not isinstance(own, dict):
        raise CtgiError(f"{path}: section {command!r} is not a mapping of settings")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    # `release: FOLDER` is a setting; only a mapping under it would be the section of `ctgi release`.
    sections = {k for k, v in content.items() if k in COMMANDS and isinstance(v, dict)}
    shared = {k: v for k, v in content.items() if k not in sections}
    settings: dict[str, Any] = {}
    for key, value in {**shared, **own}.items():
        dest = str(key).replace("-", "_")
        if dest in actions:
            settings[dest] = _value(actions[dest], value, f"{path}: {key}")
        elif key in own or not sections:
            near = difflib.get_close_matches(dest, actions, n=1)
            hint = f"; did you mean {near[0].replace('_', '-')}?" if near else f"; see ctgi {command} --help"
            raise CtgiError(f"{path}: ctgi {command} has no setting {key!r}{hint}")
    return settings


def _read(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CtgiError(f"{path}: {error.strerror}; give --config an existing YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise CtgiError(f"{path}: not YAML{line}; write one `setting: value` a line") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise CtgiError(f"{path}: not a mapping; write one `setting: value` a line")
    return content


def _value(action: argparse.Action, value: Any, where: str) -> Any:
    """The value as the flag would have it: its type, its choices, yes or no for a switch."""
    if value is None:
        return None
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise CtgiError(f"{where}: {value!r} is neither true nor false")
        return value
    many = isinstance(value, list)
    if many != (action.nargs in ("+", "*")):
        raise CtgiError(f"{where}: {value!r} is {'' if many else 'not '}a list")
    values = [_one(action, item, where) for item in (value if many else [value])]
    return values if many else values[0]


def _one(action: argparse.Action, item: Any, where: str) -> Any:
    kind = action.type
    if isinstance(item, bool) or isinstance(item, (dict, list)):
        raise CtgiError(f"{where}: {item!r} is no value for it")
    try:
        result = kind(str(item)) if callable(kind) else str(item)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise CtgiError(f"{where}: {item!r} is no value for it ({error})") from error
    if action.choices is not None and result not in action.choices:
        raise CtgiError(f"{where}: {item!r}; choose one of {', '.join(map(str, action.choices))}")
    return result
