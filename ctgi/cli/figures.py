"""Every figure that a command prints, as JSON for other programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctgi import __version__


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
