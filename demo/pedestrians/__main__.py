"""``python -m demo.pedestrians``: render a world, or look at one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.pedestrians.layouts import ANNOTATION_FILES


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _sheet(options) if options.command == "sheet" else _world(options)
    except (OSError, ValueError) as error:
        print(f"demo.pedestrians: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo.pedestrians",
        description="Rendered pedestrians: pictures of people made from attributes, seen by several cameras.",
        epilog="example: python -m demo.pedestrians world out/world --train 200 --val 20 --test 50",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    world = commands.add_parser(
        "world", help="render pictures, annotations and truth; continues if interrupted"
    )
    world.add_argument("root", type=Path, help="folder to write")
    world.add_argument("--seed", type=int, default=0)
    for split, people in (("train", 200), ("val", 20), ("test", 50)):
        world.add_argument(
            f"--{split}", type=int, default=people, metavar="N", help=f"people (default {people})"
        )
    world.add_argument("--pictures", type=int, default=4, metavar="N", help="pictures a person (default 4)")
    world.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    world.add_argument(
        "--layout",
        action="append",
        choices=list(ANNOTATION_FILES),
        help="annotation layout to write; may be repeated (default: all three)",
    )

    sheet = commands.add_parser("sheet", help="draw a contact sheet: rows are people, columns views")
    sheet.add_argument("picture", type=Path, help="file to write, .png or .jpg")
    sheet.add_argument("--people", type=int, default=6, metavar="N")
    sheet.add_argument("--views", type=int, default=8, metavar="N")
    sheet.add_argument("--seed", type=int, default=0)
    return parser


def _world(options: argparse.Namespace) -> int:
    from demo.pedestrians.world import make_world

    counts = {"train": options.train, "val": options.val, "test": options.test}
    layouts = options.layout or list(ANNOTATION_FILES)
    world = make_world(
        options.root, options.seed, counts, options.pictures, options.workers, _progress, layouts
    )
    print(f"{len(world.people)} people, {len(world.pictures)} pictures in {options.root}")
    return 0


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done}/{total} pictures", end=end, file=sys.stderr, flush=True)


def _sheet(options: argparse.Namespace) -> int:
    from demo.pedestrians.sheet import contact_sheet

    if options.people < 1 or options.views < 1:
        raise ValueError("a sheet needs at least one person and one view")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.people, options.views, options.seed).save(options.picture)
    print(options.picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
