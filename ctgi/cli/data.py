"""Flags about data sets, and what several commands read from them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.datasets.annotations import Sample

LAYOUTS = ("cuhk-pedes", "icfg-pedes", "rstpreid")
SPLITS = ("train", "val", "test")


def add_layout(parser: argparse.ArgumentParser, of_what: str) -> None:
    """--layout: how a data set writes its annotations."""
    parser.add_argument("--layout", choices=LAYOUTS, help=f"annotation layout {of_what}")


def read_split(root: Path | str, layout: str | None, split: str) -> tuple[Sample, ...]:
    """One split of a data set. Raises CtgiError where it has none, or the layout was not named."""
    from ctgi.datasets.annotations import read_dataset

    if layout is None:
        raise CtgiError(f"{root}: name its layout, --layout {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
    samples: tuple[Sample, ...] = getattr(read_dataset(root, layout), split)
    if not samples:
        raise CtgiError(f"{root}: its {split} split is empty; choose another with --split")
    return samples
