"""``python -m demo.interaction``: the interaction beyond the paper, measured on the demo's test people.

Takes the folder of a demo and makes what is missing of it, asks its val and test pictures for their dossiers,
chooses every method's parameters on val, and measures on test: all methods over all queries and by kind,
conversations round by round, and a gallery of 100,000. Results: OUT/interaction/table.md, figure.png and
results.json. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ctgi.errors import CtgiError
from demo import run
from demo.interaction.work import CURVES, FIGURE, RELIABILITY, TABLE
from demo.table import VARIANTS

_NOT_HERE = {"searches", *(f"measure-{variant.name}" for variant in VARIANTS)}


def main(arguments: list[str] | None = None) -> int:
    parser = run.parser("python -m demo.interaction", __doc__)
    parser.epilog = "example: python -m demo.interaction --out out/demo --docs docs/interaction.md"
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="write table and figure into this document, too"
    )
    options = parser.parse_args(arguments)
    return run.guarded(options, _measure)


def _measure(options: argparse.Namespace) -> None:
    if options.docs is not None:
        _document(options.docs, "")  # a document that cannot be filled is known before hours of work
    with run.opened(options, left_out=_NOT_HERE) as loop:
        loop.learn()
        loop.publish()
        loop.interact()
    place = options.out / "interaction"
    measured = (place / TABLE).read_text(encoding="utf-8")
    print(f"\n{measured}")
    if options.docs is not None:
        from ctgi.storage.atomic import write_bytes, write_text

        shown = []
        for name, source, words in (
            ("interaction", place / FIGURE, "R@1 by kind of query, and Hits@10 by questions asked"),
            ("chosen", place / CURVES, "what was tried on val for all together"),
            ("reliability", options.out / "dossiers" / RELIABILITY, "what the answers promise and keep"),
        ):
            write_bytes(options.docs.parent / "images" / f"{name}.png", source.read_bytes())
            shown.append(f"![{words}](images/{name}.png)\n")
        write_text(options.docs, _document(options.docs, "\n".join([measured, "", *shown])))
        print(f"written into {options.docs} and {options.docs.parent / 'images'}")


def _document(path: Path, measured: str) -> str:
    from demo.interaction.tell import filled

    try:
        return filled(path.read_text(encoding="utf-8"), measured)
    except ValueError as error:
        raise CtgiError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
