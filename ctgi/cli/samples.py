"""Training samples from what a user names: pseudo-captions, a data set's folder, or a set in shards."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli import data
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ctgi.datasets.annotations import Sample


@dataclass(frozen=True)
class Source:
    """Training samples, the val and test of their data set where it has them, and how pictures are opened.
    `name` is the data set's, None for captions of one's own."""

    name: str | None
    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    read: Callable[[Path], Image]


def add_arguments(parser: argparse.ArgumentParser, shards: str) -> None:
    """CAPTIONS, --pictures, --text and --layout; `shards` says in the help what a set in shards is to this
    command."""
    parser.add_argument(
        "captions",
        nargs="?",
        metavar="CAPTIONS",
        help=f"a pseudo-caption Parquet, or a data set's folder{shards}",
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="where the paths of the Parquet begin"
    )
    parser.add_argument(
        "--text",
        choices=("caption", "static_caption"),
        default="caption",
        help="train on T_e, the interview's caption, or on T_s, the first description (default: %(default)s)",
    )
    data.add_layout(parser, "of a data set's folder")
    parser.add_argument(
        "--renumber",
        action="store_true",
        help="number the people of a data set's folder anew: for a subset, whose ids have gaps",
    )


def read_source(options: argparse.Namespace) -> Source:
    """The samples that `options.captions` names.

    Raises CtgiError for what the readers refuse, and where the pictures of a Parquet were not named.
    """
    from ctgi.datasets.pictures import read_picture
    from ctgi.datasets.shards import is_shard_set, read_shards

    source = Path(options.captions)
    if is_shard_set(source):
        shards = read_shards(source)
        return Source(None, shards.samples, (), (), shards.read)
    if source.is_dir() and options.layout is not None and options.pictures is None:
        dataset = data.open_dataset(source, options.layout, renumber=options.renumber)
        return Source(options.layout, dataset.train, dataset.val, dataset.test, read_picture)
    from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions

    if options.pictures is None:
        raise CtgiError(
            f"{source}: the paths in it begin somewhere; say where with --pictures FOLDER "
            "(a data set's folder wants --layout instead)"
        )
    samples = pseudo_samples(read_pseudo_captions(source), options.pictures, options.text)
    return Source(None, samples, (), (), read_picture)
