"""Interview pictures with a vision-language model and write a pseudo-caption for each (MTG, Sec. 3.1).

PICTURES is any folder of pictures, or with --layout a data set's folder. The run can be killed at any time
and started again: what was answered is not asked again. Files that are no pictures are skipped with a line in
the report.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli import config, data, reconstructor, records, server
from ctgi.cli.figures import ready, write_figures
from ctgi.cli.numbers import amount, positive, probability
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

if TYPE_CHECKING:
    from ctgi.captioning.pool import QuestionPool
    from ctgi.captioning.run import PictureItem
    from ctgi.captioning.summary import CaptionSummary

EXAMPLES = """\
examples:
  ctgi caption photos/ --out captions/ --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct
  ctgi caption photos/ --out captions/ --model Qwen/Qwen2-VL-7B-Instruct --dry-run --price-prompt 0.2
  ctgi caption RSTPReid --layout rstpreid --split train --out captions/ --server URL --model NAME \\
      --reconstructor-server https://api.openai.com/v1"""

# Questions a picture where --rounds does not say.
ROUNDS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, output, interview, model, reconstructor, prices."""
    parser.add_argument("pictures", nargs="?", metavar="PICTURES", help="a folder, or a data set's")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where captions.parquet and interviews/ go"
    )
    data.add_layout(parser, "of a data set's folder; its identities are kept")
    parser.add_argument(
        "--split", choices=data.SPLITS, help="with --layout: split of the data set (default: train)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help=f"questions a picture (default: {ROUNDS}, or all of a smaller pool)",
    )
    parser.add_argument("--questions", type=Path, metavar="YAML", help="a question pool of your own")
    parser.add_argument(
        "--min-probability",
        type=probability,
        default=0.1,
        metavar="P",
        help="answers that the model itself gives less are dropped as uncertain (default: %(default)s)",
    )
    server.add_arguments(parser, "it sees the pictures")
    reconstructor.add_arguments(parser)
    group = parser.add_argument_group("cost")
    group.add_argument(
        "--dry-run", action="store_true", help="calls, tokens and an estimate; nothing is asked"
    )
    for name, what in {
        "price-prompt": "price of a million tokens sent to the model",
        "price-completion": "price of a million tokens it writes",
        "reconstructor-price-prompt": "the same for the reconstructor",
        "reconstructor-price-completion": "the same for the reconstructor",
    }.items():
        group.add_argument(f"--{name}", type=amount, metavar="X", help=what)


def run(options: argparse.Namespace) -> int:
    """Caption, or say what it would cost."""
    config.need(
        options,
        pictures="no pictures were named: ctgi caption PICTURES",
        out="no place for the captions was named: --out FOLDER",
    )
    ready(json=options.json)
    _check(options)
    from ctgi.captioning.pool import QuestionPool

    pool = QuestionPool.load(options.questions)
    if options.rounds is None:
        options.rounds = ROUNDS
    elif options.rounds > len(pool):
        raise CtgiError(
            f"--rounds {options.rounds}: the pool has {len(pool)} questions; give 1 to {len(pool)}"
        )
    items, root = _items(options)
    if options.dry_run:
        return _estimate(options, items, pool)
    if not server.wanted(options):
        raise CtgiError("captioning needs a chat model: --server URL --model NAME (--dry-run does without)")
    with alone(options.out, "--out"):
        return _go(options, items, root, pool)


def _check(options: argparse.Namespace) -> None:
    """Flags that would be passed over are refused."""
    if options.split is not None and options.layout is None:
        raise CtgiError(f"--split {options.split} is of a data set: name its --layout, too, or leave it out")
    reconstructor.check(options)
    prices = (options.reconstructor_price_prompt, options.reconstructor_price_completion)
    if options.reconstructor_server is None and any(price is not None for price in prices):
        raise CtgiError("a price of the reconstructor needs --reconstructor-server URL; leave it out")


def _go(options: argparse.Namespace, items: list[PictureItem], root: Path, pool: QuestionPool) -> int:
    """Caption, and say what was done."""
    before = _rows(options.out)
    summary = asyncio.run(_caption(options, items, root, pool))
    print(
        f"{summary.rows} captions in {summary.parquet} ({summary.captioned} new, "
        f"{summary.resumed} already done, {summary.skipped} skipped, {summary.duplicates} duplicates)"
    )
    if before > summary.rows:
        print(
            f"the file had {before} before; it holds this run's pictures alone. The interviews of the others "
            "are kept: a run that names those, too, has them again"
        )
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary.dropped.items())
    print(f"pairs: {summary.kept} kept" + (f", dropped: {dropped}" if dropped else ""))
    print(
        f"{summary.calls} calls, {summary.cached} from the cache, {summary.prompt_tokens:,} tokens sent, "
        f"{summary.completion_tokens:,} written, {summary.seconds:.1f} s "
        f"({summary.pictures_per_second:.2f} pictures/s, {summary.calls_per_second:.1f} calls/s)"
    )
    records.remember_captions(summary)
    if summary.skipped or summary.duplicates:
        print(f"skipped and duplicate files, one line each: {summary.report}")
    write_figures(options.json, "caption", summary.as_dict())
    return 0


def _rows(out: Path) -> int:
    """Rows of the caption file that an earlier run left; 0 where there is none that can be read."""
    import pyarrow
    import pyarrow.parquet as pq

    from ctgi.captioning.summary import PARQUET

    try:
        return int(pq.read_metadata(out / PARQUET).num_rows)
    except (OSError, pyarrow.ArrowException):
        return 0


def _items(options: argparse.Namespace) -> tuple[list[PictureItem], Path]:
    """The pictures, and the folder that their recorded paths begin in."""
    from ctgi.captioning.run import PictureItem
    from ctgi.datasets.pictures import find_pictures

    folder = Path(options.pictures)
    if options.layout is not None:
        samples = data.read_split(folder, options.layout, options.split or "train")
        items = [PictureItem(sample.picture, sample.identity) for sample in samples]
        root = data.pictures_of(folder, options.layout)
    else:
        items, root = [PictureItem(path) for path in find_pictures(folder, without=options.out)], folder
    if not items:
        raise CtgiError(f"{folder}: no files in it; give a folder of pictures")
    return items[: options.limit], root


async def _caption(
    options: argparse.Namespace, items: list[PictureItem], root: Path, pool: QuestionPool
) -> CaptionSummary:
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.progress import ProgressLine
    from ctgi.captioning.run import caption_pictures

    async with server.open_client(options, cache=options.out / "replies.sqlite", patient=True) as client:
        return await caption_pictures(
            items,
            options.out,
            client,
            pool,
            reconstructor.open_reconstructor(options, cache=client.cache, patient=True),
            rounds=options.rounds,
            root=root,
            pair_filter=PairFilter(pool, options.min_probability),
            progress=ProgressLine(sys.stderr),
        )


def _estimate(options: argparse.Namespace, items: list[PictureItem], pool: QuestionPool) -> int:
    from ctgi.captioning.estimate import Prices, estimate_captioning
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.run import recipe

    def prices(prompt: float | None, completion: float | None) -> Prices | None:
        return None if prompt is None and completion is None else Prices(prompt or 0.0, completion or 0.0)

    writer = reconstructor.open_reconstructor(options)
    estimate = estimate_captioning(
        [item.path for item in items],
        options.out,
        rounds=options.rounds,
        pool=pool,
        reconstructor=writer,
        recipe=recipe(options.model, pool, options.rounds, PairFilter(pool, options.min_probability), writer)
        if options.model
        else None,
        model=options.model,
        prices=prices(options.price_prompt, options.price_completion),
        reconstructor_prices=prices(
            options.reconstructor_price_prompt, options.reconstructor_price_completion
        ),
    )
    calls = ", ".join(f"{count:,} {purpose}" for purpose, count in estimate.calls.items())
    print(
        f"{estimate.pictures} pictures, {estimate.todo} to interview "
        f"with up to {min(options.rounds, len(pool))} questions each"
    )
    print(f"calls, at most: {sum(estimate.calls.values()):,} ({calls})")
    basis = "from earlier records" if estimate.measured else "by rule of thumb"
    print(f"tokens, {basis}: {estimate.prompt_tokens:,} sent, {estimate.completion_tokens:,} written")
    print("cost: " + ("no prices were given" if estimate.cost is None else f"about {estimate.cost:,.2f}"))
    write_figures(options.json, "caption", {"dry_run": True, **estimate.as_dict()})
    return 0
