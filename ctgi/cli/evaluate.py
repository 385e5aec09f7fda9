"""Measure a release or a checkpoint on a data set: R@1/5/10, mAP and mINP with 95 % confidence intervals.

With a chat model also with MTI, on the same queries, and what MTI took. With --cache replies are kept on
disk, so that a second run, or one that continues after a kill, pays for nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data, encoders, mti, reconstructor, server
from ctgi.cli.figures import write_figures
from ctgi.cli.progress import counter

if TYPE_CHECKING:
    from ctgi.evaluation.bootstrap import Interval
    from ctgi.evaluation.protocol import Split

EXAMPLES = """\
examples:
  ctgi evaluate RSTPReid --layout rstpreid --release release/
  ctgi evaluate RSTPReid --layout rstpreid --split val --checkpoint run/best
  ctgi evaluate RSTPReid --layout rstpreid --release release/ --cache replies.sqlite \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --queries 500 --dry-run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data set, model, chat model, MTI."""
    parser.add_argument("root", nargs="?", metavar="DATASET", help="folder with the annotations and imgs/")
    data.add_layout(parser, "of the data set")
    parser.add_argument("--split", choices=data.SPLITS, default="test", help="split (default: %(default)s)")
    encoders.add_arguments(parser)
    parser.add_argument(
        "--queries", type=server.positive, metavar="N", help="only N of the queries, spread evenly"
    )
    server.add_arguments(parser, "it sees the pictures; with it MTI is measured, too")
    mti.add_arguments(parser)
    reconstructor.add_arguments(parser)
    add_cost(parser)


def add_cost(parser: argparse.ArgumentParser) -> None:
    """--dry-run and prices."""
    group = parser.add_argument_group("cost")
    group.add_argument(
        "--dry-run", action="store_true", help="calls, tokens and an estimate; nothing is asked"
    )
    for name in ("price-prompt", "price-completion"):
        group.add_argument(f"--{name}", type=float, metavar="X", help="price of a million tokens")


def run(options: argparse.Namespace) -> int:
    """Measure, or say what measuring MTI would cost."""
    config.need(options, root="no data set was named: ctgi evaluate DATASET --layout LAYOUT")
    samples = data.read_split(options.root, options.layout, options.split)
    with_model = options.dry_run or server.wanted(options)
    if options.dry_run:
        from ctgi.cli.estimate import print_mti_estimate

        captions = [caption for sample in samples for caption in sample.captions]
        count = min(len(captions), options.queries or len(captions))
        figures = print_mti_estimate(options, count, [sample.picture for sample in samples])
        write_figures(options.json, "evaluate", figures)
        return 0
    from ctgi.evaluation.bootstrap import confidence_intervals, paired_difference
    from ctgi.evaluation.protocol import effort, embed_split, evaluate_plain

    model, release_mti = encoders.open_encoders(options)
    split = embed_split(samples, model, queries=options.queries, progress=counter("embed", "pictures"))
    plain = evaluate_plain(split)
    print(
        f"{options.split}: {len(split.texts)} queries, {len(split.ids)} pictures, "
        f"{plain.excluded} queries left out"
    )
    intervals = confidence_intervals(plain)
    _row("without MTI", intervals)
    figures = {
        "split": options.split,
        "queries": len(split.texts),
        "pictures": len(split.ids),
        "excluded": plain.excluded,
        "plain": intervals,
    }
    if with_model:
        scale = mti.calibration(release_mti)
        refined, outcomes = asyncio.run(measure_mti(options, split, model.encode_texts, scale))
        intervals = confidence_intervals(refined)
        _row("with MTI", intervals)
        gain = paired_difference(plain, refined)
        print(
            "gain, paired: "
            + ", ".join(f"{n} {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for n, d in gain.items())
        )
        took = effort(outcomes)
        tell_effort(took)
        figures |= {"mti": intervals, "gain": gain, "effort": took, "settings": mti.settings(options, 20)}
    write_figures(options.json, "evaluate", figures)
    return 0


async def measure_mti(
    options: argparse.Namespace, split: Split, encode: Any, scale: Any, cache: Path | None = None
) -> Any:
    """(evaluation, outcomes) of the split with MTI as the flags describe it; `cache` without --cache."""
    from ctgi.evaluation.protocol import evaluate_mti

    async with server.open_client(options, cache=cache) as client:
        loop = mti.open_mti(
            options,
            encode,
            split,
            client,
            split.picture,
            reconstructor.open_reconstructor(options, cache=client.cache),
            depth=20,
            scale=scale,
        )
        return await evaluate_mti(split, loop, options.concurrency, counter("MTI", "queries"))


def tell_effort(took: dict[str, Any]) -> None:
    """What MTI took, in two lines."""
    stopped = ", ".join(f"{count} {reason}" for reason, count in took["stopped"].items())
    print(f"MTI stopped: {stopped}")
    print(
        f"a query: {took['calls']:.1f} calls ({took['cached']:.1f} from the cache, "
        f"{took['abandoned']:.1f} called off), "
        f"{took['judged']:.1f} judged, "
        f"{took['prompt_tokens']:.0f} tokens sent, {took['completion_tokens']:.0f} written, "
        f"{took['ms']['total']:.0f} ms"
    )


def _row(name: str, intervals: dict[str, Interval]) -> None:
    cells = "  ".join(f"{key} {i.value:6.2f} [{i.low:.1f}, {i.high:.1f}]" for key, i in intervals.items())
    print(f"{name:<12} {cells}")
