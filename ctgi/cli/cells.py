"""One cell of the ablation: train its model through `ctgi train`, measure it without and with MTI, once."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, encoders, mti, reconstructor
from ctgi.cli import train as train_command
from ctgi.cli.evaluate import measure_mti, tell_effort
from ctgi.cli.figures import plain
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError
from ctgi.storage.digest import file_sha256

if TYPE_CHECKING:
    from ctgi.datasets.annotations import Sample
    from ctgi.evaluation.protocol import Encoders

BACKBONES = ("sdm", "irra", "rde")
WEIGHTS = "model.safetensors"
FEWEST_VAL = 20  # queries that a calibration needs


@dataclass(frozen=True)
class TrainedCell:
    """What a model is trained as and on; MTI comes when it is measured."""

    backbone: str
    mtg: bool
    pes: bool

    @property
    def name(self) -> str:
        """Its folder: irra-te-248 is IRRA on interviews (T_e) with 248 positions."""
        return f"{self.backbone}-{'te' if self.mtg else 'ts'}-{248 if self.pes else 77}"


def train_words(options: argparse.Namespace, cell: TrainedCell) -> list[str]:
    """The arguments of `ctgi train` for this cell."""
    words = [str(options.captions), "--pictures", str(options.pictures)]
    words += ["--text", "caption" if cell.mtg else "static_caption"]
    words += ["--val", str(options.root), "--layout", options.layout, "--encoder", options.encoder]
    words += ["--weights", options.weights] if options.weights is not None else []
    words += ["--model", cell.backbone, "--context", "248" if cell.pes else "77"]
    words += ["--config", str(options.training)] if options.training is not None else []
    return [*words, "--out", str(options.out / "runs" / cell.name)]


def plan(options: argparse.Namespace, cell: TrainedCell) -> dict[str, Any]:
    """What training this cell takes: command, steps, and whether it was done."""
    import pyarrow.parquet

    from ctgi.training.config import TrainConfig

    words = train_words(options, cell)
    parsed = _parsed(words)
    try:
        pictures = pyarrow.parquet.read_metadata(options.captions).num_rows
    except (OSError, pyarrow.ArrowException) as error:
        raise CtgiError(f"{options.captions}: not a readable Parquet file; run `ctgi caption`") from error
    batch = getattr(parsed, "batch_size", TrainConfig.batch_size)
    epochs = getattr(parsed, "epochs", TrainConfig.epochs)
    return {
        "cell": cell.name,
        "command": shlex.join(["ctgi", "train", *words]),
        "trained": _finished(options, cell) is not None,
        "pictures": pictures,
        "batch": batch,
        "steps": epochs * -(-pictures // batch),
    }


def train(options: argparse.Namespace, cell: TrainedCell) -> str:
    """Train the cell, or go on with it, unless it is finished; returns the digest of its best weights.

    Raises CtgiError for whatever `ctgi train` refuses.
    """
    from ctgi.storage.atomic import write_json

    if (weights := _finished(options, cell)) is not None:
        return weights
    inputs = _inputs(options, cell)
    train_command.run(_parsed(train_words(options, cell)))
    weights = file_sha256(options.out / "runs" / cell.name / "best" / WEIGHTS)
    write_json(_record(options, cell), {**inputs, "weights": weights})
    return weights


def measure(
    options: argparse.Namespace,
    cell: TrainedCell,
    weights: str,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    with_model: bool,
) -> list[dict[str, Any]]:
    """The cell's rows, without MTI and where `with_model` with it; from --out what was measured before."""
    from ctgi.evaluation.protocol import embed_split

    asked = [(str(s.picture.relative_to(options.root)), s.identity, s.captions) for s in samples]
    facts: dict[str, Any] = {"weights": weights, "asked": _hash([asked, options.queries])}
    settings: dict[str, Any] = {
        "mti": plain(mti.settings(options, 20)),
        "min_probability": mti.min_probability(options),
        "model": options.model,
        "reconstructor": reconstructor.model_name(options),
    }
    rows: list[dict[str, Any]] = []
    model: Encoders | None = None
    split: Any = None
    for with_mti in (False, True) if with_model else (False,):
        key = _hash({**facts, **(settings if with_mti else {}), "with_mti": with_mti})[:16]
        file = options.out / "rows" / f"{cell.name}-{'mti' if with_mti else 'plain'}-{key}.json"
        if file.exists():
            rows.append(json.loads(file.read_text(encoding="utf-8"))["row"])
            continue
        if model is None:
            model = encoders.CheckpointEncoders(options.out / "runs" / cell.name / "best")
            show = counter(cell.name, "pictures")
            split = embed_split(samples, model, queries=options.queries, progress=show)
        rows.append(_row(options, cell, model, split, val, with_mti, file, {**facts, **settings}))
    return rows


def _row(
    options: argparse.Namespace,
    cell: TrainedCell,
    model: Encoders,
    split: Any,
    val: Sequence[Sample],
    with_mti: bool,
    file: Path,
    facts: dict[str, Any],
) -> dict[str, Any]:
    from ctgi.evaluation.interactive import interactive_intervals, ranks_by_round
    from ctgi.evaluation.protocol import effort, evaluate_plain
    from ctgi.evaluation.table import Row
    from ctgi.storage.atomic import write_json

    result = evaluate_plain(split)
    more: dict[str, Any] = {}
    if with_mti:
        scale = _scale(model, val)
        before, cache = result, options.out / "replies.sqlite"
        result, outcomes = asyncio.run(measure_mti(options, split, model.encode_texts, scale, cache=cache))
        took = effort(outcomes)
        tell_effort(took)
        rounds = interactive_intervals(ranks_by_round([before, result]), before.identities)
        more = {"effort": took, "interactive": rounds, "scale": scale}
    method = f"CTGI ({cell.backbone.upper()})"
    row = Row.of(method, result, mtg=cell.mtg, mti=with_mti, pes=cell.pes).as_dict()
    write_json(file, {"row": row, "facts": facts, **plain(more)})
    return row


def _scale(model: Encoders, val: Sequence[Sample]) -> dict[str, Any]:
    """What a release would say of ξ's scale: fitted on val as `ctgi export --calibrate` does; without val
    nothing, so that ξ is read on raw cosines."""
    from ctgi.evaluation.protocol import embed_split, top1
    from ctgi.interaction.calibration import fit_calibration

    if sum(len(sample.captions) for sample in val) < FEWEST_VAL:
        return {}
    cosines, right = top1(embed_split(val, model, progress=counter("scale", "val pictures")))
    return {"calibration": fit_calibration(cosines, right).to_dict()}


def _parsed(words: list[str]) -> argparse.Namespace:
    """The words as `ctgi train` understands them."""
    from ctgi.cli.main import OneLineParser

    parser = OneLineParser(prog="ctgi train", add_help=False)
    config.add_arguments(parser)
    train_command.add_arguments(parser)
    config.apply(parser, "train", words)
    options = parser.parse_args(words)
    options.command = "train"
    return options


def _inputs(options: argparse.Namespace, cell: TrainedCell) -> dict[str, Any]:
    """What a finished cell was made of: other captions or settings are another cell."""
    return {
        "words": train_words(options, cell),
        "captions": file_sha256(options.captions),
        "training": None if options.training is None else file_sha256(options.training),
    }


def _record(options: argparse.Namespace, cell: TrainedCell) -> Path:
    place: Path = options.out / "cells" / f"{cell.name}.json"
    return place


def _finished(options: argparse.Namespace, cell: TrainedCell) -> str | None:
    """The digest of the cell's weights where it was finished with these inputs and they are still there."""
    try:
        record = json.loads(_record(options, cell).read_text(encoding="utf-8"))
        weights = file_sha256(options.out / "runs" / cell.name / "best" / WEIGHTS)
    except (OSError, ValueError, CtgiError):
        return None
    same = record == {**_inputs(options, cell), "weights": weights}
    return weights if same else None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
