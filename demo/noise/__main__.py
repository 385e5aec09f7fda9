"""``python -m demo.noise``: what each signal about uncertain captions buys, at 0, 20, 50 and 80 % wrong ones.

Takes the world and the captions of a demo's folder, or makes them. Of the training pictures a share of the
captions is corrupted (half of it shuffled between pictures, half given wrong details); IRRA and RDE are
fine-tuned on them from the small CLIP with no signal, each of the three, and all joined, on pictures whose
colours that CLIP has never seen. The epoch is chosen on val, R@1 measured on test. Results:
OUT/noise/table.md, figure.png and results.json. A cell that was measured is kept; killed at any point, the
command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys

from ctgi.captioning.progress import duration
from ctgi.errors import CtgiError
from demo import run
from demo.noise.grid import MODELS, RATES, SIGNALS, SMALL_RATES, Cell, cells
from demo.results import TITLES

_STAGES = ("world", "captions")


def main(arguments: list[str] | None = None) -> int:
    parser = run.parser("python -m demo.noise", __doc__)
    parser.epilog = (
        "examples: python -m demo.noise --dry-run\n"
        "          python -m demo.noise --seeds 2\n"
        "          python -m demo.noise --models irra --signals none,joined --rates 50"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each cell (default: 1)")
    parser.add_argument("--models", type=_list, default=MODELS, help="of irra,rde (default: both)")
    parser.add_argument(
        "--signals", type=_list, default=tuple(SIGNALS), help=f"of {','.join(SIGNALS)} (default: all)"
    )
    parser.add_argument("--rates", type=_list, help="percent of wrong captions (default: 0,20,50,80)")
    parser.add_argument("--dry-run", action="store_true", help="list the cells and the time they would take")
    options = parser.parse_args(arguments)
    if options.dry_run:
        try:
            _plan(options)
        except CtgiError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        return 0
    return run.guarded(options, _measure)


def _measure(options: argparse.Namespace) -> None:
    from demo.noise.work import FIGURE, TABLE, measure, tell

    todo = _cells(options)
    # The stages' lines count to three: two of the demo's, and one of this command.
    left_out = set(TITLES) - {*_STAGES, "score"}
    with run.opened(options, left_out=left_out) as loop:
        records = measure(loop, todo, options.threads)
        table = tell(loop, records)
    place = options.out / "noise"
    print(f"\n{table}\n\n{place / TABLE}\n{place / FIGURE}")


def _plan(options: argparse.Namespace) -> None:
    from demo.noise.work import found, remaining

    todo = _cells(options)
    records = found(options.out, todo, None)
    missing = [cell for cell in todo if cell not in records]
    for cell in todo:
        print(f"{cell.name:<28} {'measured before' if cell in records else 'to do'}")
    made = (options.out / "captions" / "captions.parquet").exists()
    print(
        f"{len(todo)} cells, {len(missing)} to do: about {duration(remaining(missing, records))} on an idle "
        f"core{'' if made else ', and a few minutes before them for the world and its captions'}"
    )


def _cells(options: argparse.Namespace) -> tuple[Cell, ...]:
    if options.seeds < 1:
        raise CtgiError(f"--seeds {options.seeds}: give a whole number from 1")
    for flag, given, known in (
        ("models", options.models, MODELS),
        ("signals", options.signals, tuple(SIGNALS)),
    ):
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise CtgiError(f"--{flag} {','.join(given)}: choose of {', '.join(known)}, with commas between")
    rates: tuple[float, ...] = SMALL_RATES if options.small else RATES
    if options.rates is not None:
        try:
            rates = tuple(sorted({int(rate) / 100 for rate in options.rates}))
        except ValueError:
            rates = ()
        if not rates or not all(0 <= rate <= 1 for rate in rates):
            raise CtgiError(f"--rates {','.join(options.rates)}: give whole percents from 0 to 100")
    return cells(options.models, options.signals, rates, options.seeds)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


if __name__ == "__main__":
    sys.exit(main())
