"""Every figure that a command prints, as JSON for other programs."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctgi import __version__
from ctgi.errors import CtgiError


def ready(**files: Path | None) -> None:
    """Raise CtgiError where one of these files, each under the name of its flag, could not be written: before
    the work rather than after it. None stands for a flag that was not given."""
    for flag, path in files.items():
        if path is None:
            continue
        where = path.parent.absolute()
        while not where.exists() and where != where.parent:
            where = where.parent
        reason = None
        if path.is_dir():
            reason = "is a folder"
        elif not where.is_dir():
            reason = f"{where} is no folder"
        elif not os.access(where, os.W_OK | os.X_OK):
            reason = f"{where} cannot be written"
        if reason is not None:
            raise CtgiError(f"--{flag} {path}: {reason}; name another file")


def write_figures(path: Path | None, command: str, figures: Mapping[str, Any]) -> None:
    """Write the figures to the file of `--json`, atomically; nothing where it was not given.

    Raises CtgiError where the file cannot be written.
    """
    if path is None:
        return
    from ctgi.storage.atomic import write_json

    write_json(path, {"command": command, "version": __version__, **plain(figures)})


def plain(value: Any) -> Any:
    """The value in JSON's own types: dataclasses and arrays opened, what is not a finite number as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # a numpy array or number
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
