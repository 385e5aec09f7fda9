"""Flags about data sets, and what several commands read from them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.datasets.layouts import LAYOUTS as _LAYOUTS
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctgi.datasets.annotations import Dataset, Sample

LAYOUTS = tuple(_LAYOUTS)
SPLITS = ("train", "val", "test")


def add_layout(parser: argparse.ArgumentParser, of_what: str) -> None:
    """--layout: how a data set writes its annotations."""
    parser.add_argument("--layout", choices=LAYOUTS, help=f"annotation layout {of_what}")


def open_dataset(root: Path | str, layout: str | None, *, renumber: bool = False) -> Dataset:
    """The data set; captions that look damaged are told on standard error, in one line.

    Raises CtgiError where the layout was not named, and for what `read_dataset` refuses.
    """
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.noise import summary

    if layout is None:
        raise CtgiError(f"{root}: name its layout, --layout {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
    dataset = read_dataset(root, layout, renumber=renumber)
    if dataset.noise and os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first tells it
        print(f"{root}: {summary(dataset.noise)}", file=sys.stderr)
    return dataset


def read_split(
    root: Path | str, layout: str | None, split: str, *, hold_out: float | None = None
) -> tuple[Sample, ...]:
    """One split of a data set. Who trains has to mind gaps in the training identities; here they do not
    matter.

    `hold_out`: for a set without val, the share of the training people that `ctgi train` holds out for it.

    Raises CtgiError where the set has no such split, or the layout was not named.
    """
    dataset = open_dataset(root, layout, renumber=True)
    samples: tuple[Sample, ...] = getattr(dataset, split)
    if hold_out is not None:
        if split != "val" or samples:
            raise CtgiError(
                f"{root}: --hold-out stands in for a missing val split; leave it out, or choose --split val"
            )
        from ctgi.datasets.splits import hold_out as held

        return held(dataset.train, hold_out, seed=0)[1]
    if not samples:
        there = " or ".join(name for name in SPLITS if getattr(dataset, name))
        held_out = ", or --hold-out 0.1 for the people that ctgi train keeps" if split == "val" else ""
        raise CtgiError(f"{root}: its {split} split is empty; choose --split {there}{held_out}")
    return samples


def pictures_of(root: Path | str, layout: str) -> Path:
    """The folder in which the paths of the data set's annotations begin."""
    return Path(root) / _LAYOUTS[layout].pictures


def is_published(samples: Sequence[Sample], layout: str, split: str) -> bool:
    """Whether a split holds as many people, pictures and captions as the published one."""
    return split in _LAYOUTS[layout].sizes and _LAYOUTS[layout].sizes[split] == (
        len({sample.identity for sample in samples}),
        len(samples),
        sum(len(sample.captions) for sample in samples),
    )
