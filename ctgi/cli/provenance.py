"""What a model says of itself: what it was trained on, and on which split its epoch was chosen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ctgi.datasets.layouts import LAYOUTS
from ctgi.errors import CtgiError


def model_facts(options: argparse.Namespace) -> dict[str, Any]:
    """Of the model that --release or --checkpoint names: path, trained_on, selected_on; None where unknown.

    --trained-on speaks for a model that does not say it itself. Raises CtgiError where the two disagree.
    """
    said = _of_release(options.release) if options.release is not None else _of_weights(options.checkpoint)
    trained_on = said.get("trained_on")
    given = options.trained_on
    if given is not None and trained_on is not None and not same_set(given, trained_on):
        raise CtgiError(
            f"--trained-on {given}: the model says that it was trained on {trained_on}; leave the flag out"
        )
    return {
        "path": options.release or options.checkpoint,
        "trained_on": trained_on or given,
        "selected_on": said.get("selected_on"),
    }


def across(trained_on: str | None, root: Path | str, layout: str) -> bool | None:
    """Whether the model meets a data set that it was not trained on; None where that is not known."""
    if trained_on is None:
        return None
    return not any(same_set(trained_on, name) for name in (layout, Path(root).resolve().name))


def same_set(one: str, other: str) -> bool:
    """Whether two names mean the same data set: a layout's name and its title, in any case, are one."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    for key, layout in LAYOUTS.items():
        if name.casefold() in (key, layout.title.casefold()):
            return key
    return name.casefold()


def _of_release(folder: Path) -> dict[str, Any]:
    from ctgi.storage.atomic import read_json

    fields = read_json(folder / "release.json") if (folder / "release.json").is_file() else {}
    return dict(fields.get("lineage") or {})


def _of_weights(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "model.safetensors", framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):  # what is wrong with it is said where the weights are loaded
        return {}
