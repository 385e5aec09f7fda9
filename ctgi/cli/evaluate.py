"""Measure a release or a checkpoint on a data set: R@1/5/10, mAP and mINP with 95 % confidence intervals.

The protocol is the published one of CUHK-PEDES, ICFG-PEDES and RSTPReid: every caption of the split asks,
every picture of it may be found. The data set need not be the one that the model was trained on; the result
names both. With a chat model also with MTI, on the same queries: before and after it (Hits@10, Recall@10,
BRI), and what it took. With --cache replies are kept on disk, so that a second run, or one that continues
after a kill, pays for nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data, encoders, mti, provenance, reconstructor, server
from ctgi.cli.figures import ready, write_figures
from ctgi.cli.numbers import amount, positive
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ctgi.datasets.annotations import Sample
    from ctgi.evaluation.bootstrap import Interval
    from ctgi.evaluation.interactive import InteractiveIntervals
    from ctgi.evaluation.metrics import Evaluation
    from ctgi.evaluation.protocol import Split
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.mti import SearchOutcome

EXAMPLES = """\
examples:
  ctgi evaluate RSTPReid --layout rstpreid --release release/
  ctgi evaluate RSTPReid --layout rstpreid --split val --checkpoint run/best
  ctgi evaluate ICFG-PEDES --layout icfg-pedes --checkpoint run/best --trained-on cuhk-pedes
  ctgi evaluate RSTPReid --layout rstpreid --release release/ --cache replies.sqlite \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --queries 500 --dry-run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data set, model, chat model, MTI."""
    parser.add_argument("root", nargs="?", metavar="DATASET", help="folder with the annotations and imgs/")
    data.add_layout(parser, "of the data set")
    parser.add_argument("--split", choices=data.SPLITS, default="test", help="split (default: %(default)s)")
    parser.add_argument(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="with --split val of a set that has none (ICFG-PEDES): the training people that `ctgi train` "
        "holds out, 0.1 by its default",
    )
    encoders.add_arguments(parser)
    parser.add_argument(
        "--trained-on",
        metavar="NAME",
        help="data set that the model was trained on, where it does not say so",
    )
    parser.add_argument("--queries", type=positive, metavar="N", help="only N of the queries, spread evenly")
    server.add_arguments(parser, "it sees the pictures; with it MTI is measured, too")
    parser.add_argument(
        "--dossiers",
        type=Path,
        metavar="GALLERY|FILE",
        help="dossiers of the split's pictures: MTI is measured with them as the judge (--judge dossier)",
    )
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
        group.add_argument(f"--{name}", type=amount, metavar="X", help="price of a million tokens")


def run(options: argparse.Namespace) -> int:
    """Measure, or say what measuring MTI would cost."""
    config.need(options, root="no data set was named: ctgi evaluate DATASET --layout LAYOUT")
    with_mti = _check(options)
    samples = data.read_split(options.root, options.layout, options.split, hold_out=options.hold_out)
    if options.dry_run:
        return _estimate(options, samples)
    from ctgi.evaluation.bootstrap import confidence_intervals, paired_difference
    from ctgi.evaluation.protocol import effort, embed_split, evaluate_plain

    model, release_mti = encoders.open_encoders(options)
    mti.settings(options, 20, release_mti)
    dossiers = None
    if options.dossiers is not None:
        from ctgi.cli.dossiers import open_dossiers

        dossiers = open_dossiers(options.dossiers, release_mti)
    figures = _subject(options, samples)
    split = embed_split(samples, model, queries=options.queries, progress=counter("embed", "pictures"))
    plain = evaluate_plain(split)
    print(
        f"{len(split.texts)} queries, {len(split.ids)} pictures of {figures['people']} people, "
        f"{plain.excluded} queries left out"
    )
    intervals = confidence_intervals(plain)
    _row("without MTI", intervals)
    figures |= {
        "queries": len(split.texts),
        "pictures": len(split.ids),
        "excluded": plain.excluded,
        "plain": intervals,
    }
    if with_mti:
        from ctgi.evaluation.interactive import interactive_intervals, ranks_by_round

        if dossiers is not None:
            dossiers = _of_split(options, split, dossiers)
        refined, outcomes = asyncio.run(
            measure_mti(options, split, model.encode_texts, release_mti, dossiers=dossiers)
        )
        intervals = confidence_intervals(refined)
        _row("with MTI", intervals)
        gain = paired_difference(plain, refined)
        print(
            "gain, paired: "
            + ", ".join(f"{n} {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for n, d in gain.items())
        )
        by_round = interactive_intervals(ranks_by_round([plain, refined]), plain.identities)
        _rounds(by_round)
        took = effort(outcomes)
        tell_effort(took)
        figures |= {
            "mti": intervals,
            "gain": gain,
            "interactive": by_round,
            "effort": took,
            "settings": mti.settings(options, 20, release_mti),
        }
    write_figures(options.json, "evaluate", figures)
    return 0


def _check(options: argparse.Namespace) -> bool:
    """Whether MTI is measured. What the flags get wrong is said before anything is read or embedded."""
    ready(json=options.json)
    live = server.wanted(options)
    with_dossiers = options.dossiers is not None
    if with_dossiers and not hasattr(options, "judge"):
        options.judge = "dossier"
    reconstructor.check(options)
    if not options.dry_run:  # which says what MTI would cost, whoever is asked
        mti.check(options, live=live, dossiers=with_dossiers)
    mti.settings(options, 20)
    if with_dossiers and not options.dossiers.exists():
        raise CtgiError(
            f"{options.dossiers}: no such file or folder; make dossiers with `ctgi index --dossiers`"
        )
    return live or with_dossiers


def _estimate(options: argparse.Namespace, samples: Sequence[Sample]) -> int:
    from ctgi.cli.estimate import print_mti_estimate

    captions = sum(len(sample.captions) for sample in samples)
    people = len({sample.identity for sample in samples})
    print(
        f"{options.root}, {options.split}: {len(samples):,} pictures of {people:,} people, "
        f"{captions:,} captions that ask"
    )
    count = min(captions, options.queries or captions)
    figures = print_mti_estimate(options, count, [sample.picture for sample in samples])
    held = {"pictures": len(samples), "people": people, "captions": captions}
    write_figures(options.json, "evaluate", {**figures, **held})
    return 0


def _subject(options: argparse.Namespace, samples: Sequence[Sample]) -> dict[str, Any]:
    """What is measured on what, printed; figures of other splits or of chosen epochs are not comparable."""
    from ctgi.datasets.layouts import LAYOUTS

    facts = provenance.model_facts(options)
    apart = provenance.across(facts["trained_on"], options.root, options.layout)
    published = options.queries is None and data.is_published(samples, options.layout, options.split)
    name = Path(options.root).resolve().name
    held = f", {options.hold_out:.0%} of train" if options.hold_out is not None else ""
    print(f"{name} ({options.layout}), {options.split}{held}; model {facts['path']}", end="")
    if facts["trained_on"] is None:
        print(", trained on: not said")
    else:
        print(f", trained on {facts['trained_on']}{': across data sets' if apart else ''}")
    if not published:
        print(f"not the whole published {options.split} split of {LAYOUTS[options.layout].title}: ", end="")
        print("not comparable with published figures")
    if facts["selected_on"] == "test":
        print("the model's epoch was chosen on test: its test figures are too good")
    return {
        "dataset": name,
        "layout": options.layout,
        "split": options.split,
        "hold_out": options.hold_out,
        "people": len({sample.identity for sample in samples}),
        "published_split": published,
        "model": facts,
        "across_datasets": apart,
    }


async def measure_mti(
    options: argparse.Namespace,
    split: Split,
    encode: Any,
    release_mti: Mapping[str, Any],
    *,
    cache: Path | None = None,
    dossiers: Dossiers | None = None,
) -> tuple[Evaluation, list[SearchOutcome]]:
    """The split with MTI as the flags and the release describe it; `cache` is where replies go without
    --cache. Without a chat model the dossiers judge."""
    from ctgi.evaluation.protocol import evaluate_mti

    client = server.open_client(options, cache=cache) if server.wanted(options) else None
    writer = reconstructor.open_reconstructor(options, cache=client.cache if client else options.cache)
    try:
        loop = mti.open_mti(
            options,
            encode,
            split,
            client,
            split.picture,
            writer,
            depth=20,
            release_mti=release_mti,
            dossiers=dossiers,
            reader=reconstructor.text_client(writer),
        )
        return await evaluate_mti(split, loop, options.concurrency, counter("MTI", "queries"))
    finally:
        if client is not None:
            await client.close()


def _of_split(options: argparse.Namespace, split: Split, found: Dossiers) -> Dossiers:
    """Those of the split's pictures."""
    missing = int((found.rows(split.ids) < 0).sum())
    if missing:
        raise CtgiError(
            f"{options.dossiers}: {missing} of {len(split.ids)} pictures of the {options.split} split "
            "have no dossier; make them with `ctgi index --dossiers`"
        )
    return found.of(split.ids)


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


def _rounds(found: InteractiveIntervals) -> None:
    """Round 0 is the query as given, round 1 after MTI."""
    print("by round (place of the best-ranked right picture):")
    for number, (hits, recall) in enumerate(zip(found.hits, found.recall, strict=True)):
        print(
            f"round {number}  Hits@10 {hits.value:6.2f} [{hits.low:.1f}, {hits.high:.1f}]  "
            f"Recall@10 {recall.value:6.2f} [{recall.low:.1f}, {recall.high:.1f}]"
        )
    bri = found.bri
    print(f"BRI {bri.value:.3f} [{bri.low:.3f}, {bri.high:.3f}] (lower is better; 0: right from the start)")
