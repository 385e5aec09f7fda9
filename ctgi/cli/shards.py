"""Write a training set as WebDataset shards: a few large tar files instead of a million small pictures.

For sets that one disk cannot hold or a network file system is slow with. The shards keep the pictures' own
bytes; `ctgi train SHARDS` reads them in any order, and any WebDataset reader can stream them. Interrupted and
started again, it goes on behind the last whole shard.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from ctgi.cli import config, samples
from ctgi.cli.figures import write_figures
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

EXAMPLES = """\
examples:
  ctgi shards captions/captions.parquet --pictures photos/ --out shards/
  ctgi shards CUHK-PEDES --layout cuhk-pedes --out shards/ --disk /disk1/cuhk /disk2/cuhk
  ctgi shards --check shards/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to write, where, and how large."""
    samples.add_arguments(parser, "")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the index, and the shards, go")
    parser.add_argument(
        "--disk",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="deal the shards to these folders in turn, and keep only the index in --out",
    )
    parser.add_argument(
        "--per-shard", type=int, default=1000, metavar="N", help="pictures in a shard (default: %(default)s)"
    )
    parser.add_argument(
        "--check", type=Path, metavar="SHARDS", help="write nothing; compare every shard with its digest"
    )


def run(options: argparse.Namespace) -> int:
    """Write or check the shards of a set."""
    from ctgi.datasets.shards import check_shards, read_shards, write_shards

    if options.check is not None:
        count = check_shards(options.check)
        print(f"{options.check}: {count} shards are what was written")
        write_figures(options.json, "shards", {"checked": count})
        return 0
    config.need(
        options,
        captions="no captions were named: ctgi shards CAPTIONS --out FOLDER",
        out="no place for the shards was named: --out FOLDER",
    )
    if options.per_shard < 1:
        raise CtgiError(f"--per-shard {options.per_shard} is not a whole number from 1; 1000 is usual")
    source = samples.read_source(options)
    if options.layout is not None and source.name is None:
        raise CtgiError(
            f"--layout {options.layout}: is of a data set's folder, and {options.captions} is none; leave it "
            "out"
        )
    with ExitStack() as locks:
        places = {disk.resolve(): (disk, "--disk") for disk in options.disk or ()}
        places[options.out.resolve()] = options.out, "--out"
        for place in places.values():
            locks.enter_context(alone(*place))
        index = write_shards(
            source.train,
            options.out,
            per_shard=options.per_shard,
            disks=options.disk or (),
            progress=counter("shards", "pictures"),
        )
    written = len(read_shards(options.out).samples)
    print(f"{written} pictures in {-(-written // options.per_shard)} shards; index: {index}")
    write_figures(options.json, "shards", {"pictures": written, "index": index})
    return 0
