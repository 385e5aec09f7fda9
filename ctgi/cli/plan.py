"""GPU hours, wall time, cost and storage of captioning a set, before anything is rented.

Nothing is called and no picture is read: it is arithmetic over tokens a picture, rates of a server, and
prices. Rates that are not given are published figures, tokens that are not measured are a rule of thumb;
docs/scaling.md says where each comes from. The best figure is your own: caption a few hundred pictures on one
replica, then give its pictures a second, and the folder of captions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli.figures import write_figures
from ctgi.cli.numbers import amount, finite, positive, rate
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.captioning.capacity import Replica, Run
    from ctgi.captioning.estimate import Prices, Tokens

EXAMPLES = """\
examples:
  ctgi plan --pictures 40k,4M,400M --replicas 1,8,64 --gpu-hour-price 1.76
  ctgi plan --pictures 250k --replicas 4 --pictures-per-second 5.2 --captions captions/ --gpu-hour-price 2
  ctgi plan --pictures 4M --replicas 16 --gpu-hour-price 1.76 \\
      --reconstructor-price-prompt 2.5 --reconstructor-price-completion 10"""

_SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9}
_MOST_RECORDS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The set, the servers, the prices."""
    parser.add_argument(
        "--pictures",
        type=counts,
        default=[40_000, 4_000_000, 400_000_000],
        metavar="N,…",
        help="how many; k, M and G are understood (default: 40k,4M,400M)",
    )
    parser.add_argument(
        "--replicas", type=counts, default=[1, 8, 64], metavar="N,…", help="servers (default: 1,8,64)"
    )
    group = parser.add_argument_group("one picture")
    group.add_argument(
        "--rounds", type=positive, default=6, help="questions a picture (default: %(default)s)"
    )
    group.add_argument(
        "--size", type=size, default=(128, 384), metavar="WxH", help="of a picture (default: 128x384)"
    )
    group.add_argument(
        "--captions", type=Path, metavar="FOLDER", help="measured tokens: what `ctgi caption` wrote, a sample"
    )
    group.add_argument(
        "--picture-kb",
        type=amount,
        default=15.0,
        metavar="X",
        help="of a picture file (default: %(default)g)",
    )
    group.add_argument("--dimensions", type=positive, default=512, help="of a vector (default: %(default)s)")
    group = parser.add_argument_group("one replica of the language model")
    group.add_argument(
        "--pictures-per-second", type=rate, metavar="X", help="measured; the next two are then not used"
    )
    group.add_argument("--prompt-rate", type=rate, metavar="X", help="prompt tokens a second, computed")
    group.add_argument("--completion-rate", type=rate, metavar="X", help="tokens a second, written")
    group.add_argument("--gpus", type=positive, default=1, help="GPUs of a replica (default: %(default)s)")
    group = parser.add_argument_group("prices")
    for name, what in {
        "gpu-hour-price": "of one GPU for an hour",
        "reconstructor-price-prompt": "of a million tokens sent to the reconstructor; without: no such model",
        "reconstructor-price-completion": "of a million tokens it writes",
        "storage-price": "of a GB for a month",
    }.items():
        group.add_argument(f"--{name}", type=amount, metavar="X", help=what)


def run(options: argparse.Namespace) -> int:
    """Print the assumptions, then one line for every number of pictures and replicas."""
    from ctgi.captioning.capacity import COMPLETION_RATE, PROMPT_RATE, Replica, plan_run, storage
    from ctgi.captioning.estimate import Prices, picture_tokens, reconstruction_tokens
    from ctgi.captioning.pool import default_pool

    pool = default_pool()
    rounds = min(options.rounds, len(pool))
    tokens, measured = _tokens(options, rounds)
    replica = Replica(
        prompt_rate=options.prompt_rate or PROMPT_RATE,
        completion_rate=options.completion_rate or COMPLETION_RATE,
        pictures_per_second=options.pictures_per_second,
        gpus=options.gpus,
        hour=options.gpu_hour_price or 0.0,
    )
    reconstructor = None
    if options.reconstructor_price_prompt is not None or options.reconstructor_price_completion is not None:
        reconstructor = Prices(
            options.reconstructor_price_prompt or 0.0, options.reconstructor_price_completion or 0.0
        )
    rewritten = reconstruction_tokens(rounds, pool)
    runs = [
        plan_run(pictures, replicas, tokens, 1 + rounds, replica, reconstructor, rewritten)
        for pictures in options.pictures
        for replicas in options.replicas
    ]
    stores = {
        pictures: storage(pictures, 1 + rounds, options.picture_kb * 1000, options.dimensions)
        for pictures in options.pictures
    }
    facts = {
        "calls_per_picture": 1 + rounds,
        "picture_tokens": picture_tokens(*options.size),
        "tokens_per_picture": tokens,
        "tokens_measured": measured,
        "replica": replica,
        "pictures_per_second_per_replica": replica.rate(tokens),
    }
    _print_assumptions(1 + rounds, tokens, measured, replica, reconstructor, rewritten)
    _print_runs(runs, gpus=options.gpu_hour_price is not None, reconstructor=reconstructor is not None)
    _print_storage(stores, options.storage_price)
    write_figures(
        options.json,
        "plan",
        {**facts, "runs": [{**vars(one), "cost": one.cost} for one in runs], "storage_bytes": stores},
    )
    return 0


def _tokens(options: argparse.Namespace, rounds: int) -> tuple[Tokens, int]:
    """Tokens of one interview, and how many records they were measured over."""
    from ctgi.captioning.estimate import interview_tokens, measured_tokens, picture_tokens
    from ctgi.captioning.pool import default_pool
    from ctgi.captioning.summary import INTERVIEWS
    from ctgi.captioning.transcript import read_transcript

    by_rule = interview_tokens(picture_tokens(*options.size), rounds, default_pool())
    if options.captions is None:
        return by_rule, 0
    folder = options.captions / INTERVIEWS
    names = sorted(path.stem for path in folder.glob("*.json"))[:_MOST_RECORDS]
    records = [record for name in names if (record := read_transcript(folder, name))]
    if not records:
        raise CtgiError(f"{options.captions}: no interviews there; give the --out of a `ctgi caption` run")
    return measured_tokens(records, by_rule), len(records)


def _print_assumptions(
    calls: int,
    tokens: Tokens,
    measured: int,
    replica: Replica,
    reconstructor: Prices | None,
    rewritten: tuple[float, float],
) -> None:
    from ctgi.captioning.capacity import EFFICIENCY, START_UP

    basis = f"measured over {measured} records" if measured else "by rule of thumb"
    print(
        f"one picture: {calls} calls; {tokens.prompt:,.0f} tokens sent, of which the server computes "
        f"{tokens.fresh:,.0f} with prefix caching; {tokens.completion:,.0f} written ({basis})"
    )
    if replica.pictures_per_second is None:
        how = f"{replica.prompt_rate:,.0f} prompt and {replica.completion_rate:,.0f} written tokens/s"
    else:
        how = "as given"
    print(
        f"one replica: {replica.rate(tokens):,.2f} pictures/s ({how}), used to {EFFICIENCY:.0%}, "
        f"{START_UP / 60:g} min to start"
    )
    if reconstructor is not None:
        print(
            f"reconstructor: 1 call, {rewritten[0]:,.0f} tokens sent, {rewritten[1]:,.0f} written a picture"
        )


def _print_runs(runs: list[Run], *, gpus: bool, reconstructor: bool) -> None:
    rows = [["pictures", "replicas", "pictures/s", "wall time", "GPU hours", "processes"]]
    rows[0] += (["GPU cost"] if gpus else []) + (["reconstructor"] if reconstructor else [])
    rows[0] += ["together"] if gpus and reconstructor else []
    for one in runs:
        row = [
            f"{one.pictures:,}",
            f"{one.replicas:,}",
            f"{one.pictures_per_second:,.1f}",
            _duration(one.seconds),
            f"{one.gpu_hours:,.1f}",
            f"{one.processes:,}",
        ]
        row += ([f"{one.gpu_cost:,.0f}"] if gpus else []) + (
            [f"{one.reconstructor_cost:,.0f}"] if reconstructor else []
        )
        rows.append(row + ([f"{one.cost:,.0f}"] if gpus and reconstructor else []))
    _print_table(rows)


def _print_storage(stores: dict[int, dict[str, float]], price: float | None) -> None:
    kinds = list(next(iter(stores.values())))
    rows = [["pictures", *(f"{kind} GB" for kind in kinds), "together GB"]]
    rows[0] += ["a month"] if price is not None else []
    for pictures, sizes in stores.items():
        together = sum(sizes.values())
        row = [f"{pictures:,}", *(_gigabytes(size) for size in sizes.values()), _gigabytes(together)]
        rows.append(row + ([f"{together / 1e9 * price:,.2f}"] if price is not None else []))
    _print_table(rows)


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.2f}" if size < 1e11 else f"{size / 1e9:,.0f}"


def _duration(seconds: float) -> str:
    """Two figures at most: ``45 min``, ``3.4 h``, ``12 d``."""
    for unit, length in (("y", 365.25 * 86400), ("d", 2 * 86400), ("h", 3600)):
        if seconds >= length:
            value = seconds / (86400 if unit == "d" else length)
            return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{max(1, round(seconds / 60))} min"


def counts(text: str) -> list[int]:
    """argparse type: whole numbers from 1 with commas between them; k, M and G are understood."""
    found = []
    for word in text.split(","):
        word = word.strip()
        factor = _SUFFIXES.get(word[-1:].lower(), 1)
        number = finite(word[:-1] if factor > 1 else word) * factor
        if number < 1 or number != int(number) or number > 1e15:
            raise argparse.ArgumentTypeError(f"{word!r}: give whole numbers from 1, as in 40k,4M")
        found.append(int(number))
    return found


def size(text: str) -> tuple[int, int]:
    """argparse type: width and height, as in 128x384."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) < 1e6 and 0 < int(height) < 1e6):
        raise argparse.ArgumentTypeError(f"{text!r}: give width and height, as in 128x384")
    return int(width), int(height)
