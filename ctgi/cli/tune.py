"""Choose MTI's parameters on a validation split and write them into the release, with the curve.

Every parameter that the judge reads is walked over a few values, and a value is taken only where a paired
comparison over the split's people speaks for it; what a flag sets stays as it is. For the judge "dossier" the
probabilities in the dossiers are calibrated first. `ctgi search` and `ctgi evaluate` then start from what was
chosen for their judge. The test split is not for this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data, mti, reconstructor, server
from ctgi.cli.figures import plain, ready, write_figures
from ctgi.cli.numbers import positive
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.evaluation.metrics import Evaluation
    from ctgi.evaluation.protocol import Split
    from ctgi.interaction.config import MTIConfig
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.memory import Memory
    from ctgi.interaction.mti import Encode
    from ctgi.interaction.temperature import Temperatures

EXAMPLES = """\
examples:
  ctgi tune RSTPReid --layout rstpreid --release release/ --judge dossier --dossiers val.sqlite \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --figure chosen.png
  ctgi tune RSTPReid --layout rstpreid --release release/ --judge hard --k 20 --xi 0.85 --m 1 \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --cache replies.sqlite"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data set, release, dossiers, chat model, MTI."""
    parser.add_argument("root", nargs="?", metavar="DATASET", help="folder with the annotations and imgs/")
    data.add_layout(parser, "of the data set")
    parser.add_argument(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="of a set without val (ICFG-PEDES): the training people that `ctgi train` holds out",
    )
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="the release to write into")
    parser.add_argument(
        "--dossiers",
        type=Path,
        metavar="FILE",
        help="dossiers of the val pictures; with --server those that are missing are asked for",
    )
    parser.add_argument("--queries", type=positive, metavar="N", help="only N of the queries, spread evenly")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw what was tried")
    parser.add_argument(
        "--reliability",
        type=Path,
        metavar="PNG",
        help="draw what the dossiers' probabilities are worth, before and after calibration",
    )
    server.add_arguments(parser, "it sees the pictures")
    mti.add_arguments(parser)
    reconstructor.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Choose, write, and show what was chosen."""
    config.need(
        options,
        root="no data set was named: ctgi tune DATASET --layout LAYOUT --release RELEASE",
        release="no release was named: --release FOLDER",
    )
    from ctgi.evaluation.protocol import embed_split, evaluate_plain
    from ctgi.evaluation.tuning import AXES, as_record, tune
    from ctgi.export.release import Release, record_mti
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.interaction.memory import Memory

    start = mti.settings(options, depth=20)
    set_by_flag = {mti.RENAMED.get(name, name) for name in mti.FIELDS if hasattr(options, name)}
    axes = {axis: values for axis, values in AXES[start.judge].items() if axis not in set_by_flag}
    if not axes:
        raise CtgiError("every parameter is set by a flag; leave out those that are to be chosen")
    _check(options, start)
    samples = data.read_split(options.root, options.layout, "val", hold_out=options.hold_out)
    encoders = OnnxEncoders(options.release)
    split = embed_split(samples, encoders, queries=options.queries, progress=counter("embed", "pictures"))
    held = dict(encoders.release.mti)
    dossiers = None
    if options.dossiers is not None:
        dossiers = _dossiers(options, split)
        held.pop("dossiers", None)
        if (temperatures := _temperatures(options, dossiers, split, start.doubt)) is not None:
            held["dossiers"] = temperatures.to_dict()
            dossiers = temperatures.applied(dossiers)

    memory = Memory()

    def measure(setting: MTIConfig) -> Evaluation:
        return asyncio.run(_measured(options, setting, split, encoders.encode_texts, held, dossiers, memory))

    tuned = tune(start, axes, measure, counter("tune", "settings"))
    record = dict(plain(as_record(tuned, axes, evaluate_plain(split), "val")))
    now = dict(Release.load(options.release, verify=False).mti)  # read again: this took a while
    if "dossiers" in held:
        now["dossiers"] = held["dossiers"]
    record_mti(options.release, {**now, "tuned": {**now.get("tuned", {}), start.judge: record}})
    _show(record, held.get("dossiers"))
    if options.figure is not None:
        from ctgi.evaluation.curves import save_curves

        save_curves(record, options.figure)
        print(f"figure: {options.figure}")
    write_figures(options.json, "tune", {**record, "dossiers": held.get("dossiers")})
    return 0


def _check(options: argparse.Namespace, start: MTIConfig) -> None:
    """What is missing is said before anything is embedded or asked."""
    ready(json=options.json, figure=options.figure, reliability=options.reliability)
    reconstructor.check(options)
    if options.figure is not None:
        import matplotlib  # noqa: F401
    live = server.wanted(options)
    if start.judge == "dossier" and options.dossiers is None:
        raise CtgiError("the judge is dossier: name their file, --dossiers FILE (it is made where it is not)")
    if start.judge != "dossier" and not live:
        raise CtgiError(f"the judge is {start.judge}: it asks a chat model, name --server and --model")
    if start.judge != "dossier" and options.cache is None:
        raise CtgiError(
            "name --cache FILE: every setting asks the same, and nothing should be paid for twice"
        )
    if options.dossiers is not None and not live and not options.dossiers.is_file():
        raise CtgiError(f"{options.dossiers}: no dossiers there; name --server and --model to ask for them")


def _dossiers(options: argparse.Namespace, split: Split) -> Dossiers:
    """The val pictures' dossiers, asked for where they are missing."""
    from ctgi.captioning.progress import ProgressLine
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.dossier_store import DossierStore
    from ctgi.interaction.enrol import enrol

    if server.wanted(options):

        async def ask() -> None:
            with DossierStore(options.dossiers) as store:
                async with server.open_client(options, patient=True) as client:
                    pictures = list(zip(split.ids, split.paths, strict=True))
                    await enrol(pictures, store, client, progress=ProgressLine(sys.stderr))

        asyncio.run(ask())
    loaded = Dossiers.load(options.dossiers)
    missing = int((loaded.rows(split.ids) < 0).sum())
    if missing:
        raise CtgiError(
            f"{options.dossiers}: {missing} of {len(split.ids)} val pictures have no dossier; name --server "
            "and --model, so that they are asked"
        )
    return loaded.of(split.ids)


def _temperatures(
    options: argparse.Namespace, dossiers: Dossiers, split: Split, doubt: float
) -> Temperatures | None:
    """What the answers' probabilities are worth, by the val queries; None where these tell too little."""
    from ctgi.interaction.reading import read_query
    from ctgi.interaction.temperature import fit_temperatures, known_answers, reliability

    readings = [read_query(text, dossiers.facets) for text in split.texts]
    rows = [[int(row) for row in (split.owned == who).nonzero()[0]] for who in split.wanted]
    answered = known_answers(dossiers, readings, rows)
    try:
        found = fit_temperatures(dossiers, answered, doubt)
    except CtgiError as error:
        print(f"dossiers are used as they are: {error}", file=sys.stderr)
        return None
    if options.reliability is not None:
        from ctgi.evaluation.reliability import save_reliability

        after = reliability(answered, dossiers, found)
        save_reliability(reliability(answered), after, options.reliability)
        print(f"reliability: {options.reliability}")
    return found


async def _measured(
    options: argparse.Namespace,
    setting: MTIConfig,
    split: Split,
    encode: Encode,
    release_mti: dict[str, Any],
    dossiers: Dossiers | None,
    memory: Memory,
) -> Evaluation:
    """One setting on the val queries."""
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.pool import default_pool
    from ctgi.evaluation.protocol import evaluate_mti
    from ctgi.interaction.mti import MTI

    pool = default_pool()
    client = server.open_client(options) if setting.judge != "dossier" else None
    writer = reconstructor.open_reconstructor(options, cache=options.cache)
    try:
        loop = MTI(
            encode,
            split,
            client,
            split.picture,
            pool,
            writer,
            setting,
            scale=mti.calibration(release_mti),
            pair_filter=PairFilter(pool, mti.min_probability(options, release_mti)),
            dossiers=dossiers,
            reader=reconstructor.text_client(writer),
            memory=memory,
        )
        return (await evaluate_mti(split, loop, options.concurrency))[0]
    finally:
        if client is not None:
            await client.close()


def _show(record: dict[str, Any], calibration: dict[str, Any] | None) -> None:
    """What was tried and taken, for people."""
    if calibration is not None:
        print(
            f"dossiers calibrated on {calibration['answers']} answers: expected calibration error "
            f"{calibration['ece_before']:.3f} before, {calibration['ece']:.3f} after"
        )
    for trial in record["curve"]:
        low, high = trial["against"]
        print(
            f"round {trial['round']}  {trial['axis']:>11} {trial['value']:<6g} {record['objective']} "
            f"{trial[record['objective']]:6.2f}  R@1 {trial['R@1']:6.2f}  R@10 {trial['R@10']:6.2f}  "
            f"[{low:+.2f}, {high:+.2f}]{'  taken' if trial['taken'] else ''}"
        )
    chosen = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    before, after = (record[name]["mAP"] for name in ("without_mti", "metrics"))
    print(f"chosen on {record['queries']} val queries: {chosen}; mAP {after:.2f}, without MTI {before:.2f}")
