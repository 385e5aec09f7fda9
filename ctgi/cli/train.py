"""Fine-tune a CLIP-style retrieval model on captions: pseudo-captions that `ctgi caption` wrote, a data set's
own, or a set in shards that `ctgi shards` wrote.

--model irra learns from SDM, identity and masked-word losses, rde from TAL with a consensus on which captions
to believe, sdm from SDM alone. --trust weights captions by how far they are to be believed. The epoch is
chosen on validation data. Killed and started again with the same arguments, a run continues from its last
checkpoint. `torchrun --nproc-per-node N -m ctgi train …` trains on N
GPUs (or N processes of a CPU): each gets an equal part of every batch, the losses see all of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli import config, data, records, samples, trust
from ctgi.cli.figures import write_figures
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

if TYPE_CHECKING:
    from torch import nn

    from ctgi.cli.samples import Source
    from ctgi.datasets.annotations import Sample
    from ctgi.encoders.dual import DualEncoder
    from ctgi.training.config import TrainConfig
    from ctgi.training.engine import TrainResult

EXAMPLES = """\
examples:
  ctgi train captions/captions.parquet --pictures photos/ --out run/ --encoder ViT-B-16-quickgelu \\
      --weights openai --model irra
  ctgi train captions/captions.parquet --pictures RSTPReid/imgs --val RSTPReid --layout rstpreid --out run/ \\
      --encoder clip/ --model rde --epochs 12 --batch-size 32
  ctgi train captions/captions.parquet --pictures photos/ --out run/ --encoder clip/ --model irra \\
      --trust answers,similarity,loss
  ctgi train RSTPReid --layout rstpreid --out supervised/ --encoder ViT-B-16-quickgelu --weights openai
  torchrun --nproc-per-node 4 -m ctgi train shards/ --val CUHK-PEDES --layout cuhk-pedes --out run/ \\
      --encoder ViT-B-16-quickgelu --weights openai --model irra --accumulation 2"""

MODELS = ("irra", "rde", "sdm")

# Flags that are fields of TrainConfig, with its defaults; only those that are given are passed on.
Fields = dict[str, tuple[type, str]]
LEARNING: Fields = {
    "epochs": (int, "passes over the captions (60)"),
    "batch-size": (int, "pairs in a step, over all processes (64)"),
    "sampler": (str, "plain: every pair once; identity: people with several pairs each (plain)"),
    "instances": (int, "pairs a person in a batch of the identity sampler (4)"),
    "base-lr": (float, "learning rate of pre-trained weights (1e-5)"),
    "new-lr-factor": (float, "new layers' rate, as a multiple of it (5)"),
    "rde-new-lr": (float, "rate of RDE's token selection layers (1e-3)"),
    "weight-decay": (float, "L2 (4e-5)"),
    "adam-eps": (float, "Adam's epsilon (1e-3; 1e-8 for small models)"),
    "warmup-epochs": (float, "epochs of warm-up, from a tenth of the rate (5 of 60)"),
    "lr-step": (str, "epoch or step: when the rate changes (epoch)"),
    "seed": (int, "of everything that is drawn (1)"),
    "select": (str, "validation metric that chooses the epoch (R@1)"),
    "patience": (int, "stop after so many epochs without a better one; 0: never (0)"),
}
LOSSES: Fields = {
    "sdm-scale": (float, "scale of the SDM loss (50)"),
    "irra-captions": (
        str,
        "masked (as published) or clean: what SDM and ID read (masked)",
    ),
    "irra-padding": (str, "ignored or attended (as published): padding in masked-word modelling (ignored)"),
    "tal-tau": (float, "temperature of RDE's TAL (0.015)"),
    "tal-margin": (float, "margin of RDE's TAL (0.1)"),
    "rde-consensus": (str, "monotone, published, published-loose or off: how RDE judges pairs (monotone)"),
    "rde-selection": (str, "valid or context: what RDE selects 0.3 of in a text (valid)"),
}
MACHINE: Fields = {
    "device": (str, "auto, cpu, cuda, … (auto)"),
    "precision": (str, "auto, fp32, bf16, fp16 (auto: bf16 on a GPU, fp32 on a CPU)"),
    "accumulation": (int, "encode a batch in so many parts, to save memory; the losses see it whole (1)"),
    "checkpoint-steps": (int, "save every so many steps, besides each epoch (0)"),
    "cache-gb": (float, "decoded pictures kept in memory, 6,800 a GB; more go to a file in --out (8)"),
    "shard-window": (int, "of a set in shards, shuffle so many at a time; 0: all (0)"),
}
SWITCHES = {
    "recompute": "gradient checkpointing: less memory, one more forward pass",
    "tensorboard": "write tensorboard/ beside the JSON lines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, encoder, output, and every field of TrainConfig."""
    samples.add_arguments(parser, ", or a set in shards")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the run is kept")
    parser.add_argument(
        "--val", type=Path, metavar="FOLDER", help="data set whose val split chooses the epoch"
    )
    parser.add_argument(
        "--hold-out",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="without a val split: share of the training identities held out for it (default: %(default)s)",
    )
    parser.add_argument(
        "--select-on-test",
        action="store_true",
        help="choose the epoch on test, as the published code does; what comes out is marked, since its test "
        "figures are no measurement",
    )
    parser.add_argument(
        "--model", choices=MODELS, default="irra", help="what to train (default: %(default)s)"
    )
    parser.add_argument(
        "--encoder", metavar="FOLDER|NAME", help="a checkpoint folder, or the name of an open_clip model"
    )
    parser.add_argument(
        "--weights", metavar="openai|FILE", help="weights of a named model; a folder brings its own"
    )
    parser.add_argument(
        "--context",
        type=int,
        choices=(77, 248),
        default=248,
        help="text positions; 248 stretches them (default)",
    )
    for title, fields in (("learning", LEARNING), ("losses", LOSSES), ("machine", MACHINE)):
        group = parser.add_argument_group(f"{title} (published value or default in brackets)")
        for name, (kind, what) in fields.items():
            group.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=what)
        if fields is LEARNING:
            group.add_argument("--no-augment", action="store_true", help="no flip, crop and erasing")
    for name, what in SWITCHES.items():
        group.add_argument(f"--{name}", action="store_true", help=what)
    trust.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Train, and print the best epoch's validation metrics."""
    config.need(
        options,
        captions="no captions were named: ctgi train CAPTIONS",
        out="no place for the run was named: --out FOLDER",
        encoder="no encoder was named: --encoder FOLDER, or --encoder ViT-B-16-quickgelu --weights openai",
    )
    first = os.environ.get("RANK", "0") == "0"
    records.usable(Path(options.captions), Path(options.encoder))
    try:
        settings = _settings(options)
        source, train, val = _sets(options, first)
        # The processes of torchrun are one run, which the first of them answers for.
        with alone(options.out, "--out") if first else nullcontext():
            result = _train(options, settings, source, train, val)
            if first:
                records.remember_checkpoint(options, settings, result)
    except CtgiError:
        if not first:
            # A fault that every process meets is told by the first; torchrun ends the others meanwhile.
            time.sleep(10)
        raise
    if first:
        _tell(options, settings, train, val, result)
    return 0


def _settings(options: argparse.Namespace) -> TrainConfig:
    from ctgi.training.config import TrainConfig

    given = {name.replace("-", "_") for name in {**LEARNING, **LOSSES, **MACHINE}} & set(vars(options))
    return TrainConfig.from_mapping(
        {
            **{name: getattr(options, name) for name in given},
            **{name: getattr(options, name) for name in SWITCHES},
            "augment": not options.no_augment,
            "select_on": "test" if options.select_on_test else "val",
        }
    )


def _sets(options: argparse.Namespace, first: bool) -> tuple[Source, Sequence[Sample], Sequence[Sample]]:
    """Where samples come from, those to train on, and those that choose the epoch."""
    from ctgi.datasets.splits import hold_out

    source = samples.read_source(options)
    if options.layout is not None and options.val is None and source.name is None:
        raise CtgiError(
            f"--layout {options.layout}: is of a data set's folder, and {options.captions} is none; name the "
            "set that chooses the epoch with --val FOLDER, or leave --layout out"
        )
    train, split = source.train, "test" if options.select_on_test else "val"
    val: Sequence[Sample] = getattr(source, split)
    if options.val is not None:
        val = getattr(data.open_dataset(options.val, options.layout), split)
    if options.select_on_test:
        if not val:
            raise CtgiError(
                "--select-on-test: there is no test split; name the data set that has one with --val FOLDER"
            )
        if first:
            print(
                "warning: the epoch is chosen on the test split; its test figures are too good to be "
                "compared with any that were chosen on val, and the checkpoint says so",
                file=sys.stderr,
            )
    elif not val:
        train, val = hold_out(train, options.hold_out, seed=0)
        if first:
            print(f"no val split: {options.hold_out:.0%} of the training identities are held out for it")
    return source, train, val


def _train(
    options: argparse.Namespace,
    settings: TrainConfig,
    source: Source,
    train: Sequence[Sample],
    val: Sequence[Sample],
) -> TrainResult:
    import torch

    from ctgi.training import engine
    from ctgi.training.device import training_device
    from ctgi.training.distributed import process_group, rank
    from ctgi.training.objectives.build import build_encoder, build_objective

    settings = trust.settled(options, settings)
    torch.manual_seed(settings.seed)  # new layers are drawn
    start = _encoder(options)
    with process_group(training_device(settings)):
        # Before RDE's layers are on it: they know nothing yet.
        signals = trust.fixed_signals(options, settings, source, train, start)
        encoder = build_encoder(options.model, start, settings)
        pairs = sum(len(sample.captions) for sample in train)
        objective: nn.Module = build_objective(
            options.model,
            encoder,
            settings,
            identities=len({sample.identity for sample in train}),
            pairs=pairs,
        )
        objective, weights = trust.trusting(options, signals, objective, pairs)
        if rank() == 0:
            trust.tell(signals, weights)
        return engine.train(
            settings,
            train,
            val,
            encoder,
            options.out,
            objective=objective,
            trust=weights,
            read=source.read,
        )


def _tell(
    options: argparse.Namespace,
    settings: TrainConfig,
    train: Sequence[Sample],
    val: Sequence[Sample],
    result: TrainResult,
) -> None:
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    epochs = len(result.history)
    stopped = f" of {settings.epochs}, stopped early" if epochs < settings.epochs else ""
    print(f"{len(train)} pictures, {epochs} epochs{stopped}, {result.seconds:.0f} s")
    marked = " (chosen on it: no measurement)" if settings.select_on == "test" else ""
    print(f"best epoch {result.best_epoch} on {settings.select_on}: {metrics}{marked}")
    print(f"checkpoint: {result.best}")
    write_figures(
        options.json,
        "train",
        {
            "model": options.model,
            "pictures": len(train),
            "captions": sum(len(sample.captions) for sample in train),
            "val_pictures": len(val),
            "settings": settings,
            "selected_on": settings.select_on,
            "best_epoch": result.best_epoch,
            "metrics": result.metrics,
            "history": result.history,
            "seconds": result.seconds,
            "checkpoint": result.best,
        },
    )


def starts_from_folder(options: argparse.Namespace) -> bool:
    """Whether --encoder is a checkpoint folder and no model's name; raises CtgiError where --weights does not
    fit. Reads nothing."""
    is_folder = (Path(options.encoder) / "config.json").is_file()
    if is_folder and options.weights is not None:
        raise CtgiError(f"{options.encoder}: a checkpoint folder brings its own weights; leave --weights out")
    if not is_folder and options.weights is None:
        raise CtgiError(
            f"{options.encoder}: no checkpoint folder; a model's name needs --weights openai or a file"
        )
    return is_folder


def _encoder(options: argparse.Namespace) -> DualEncoder:
    from ctgi.encoders.loading import load_checkpoint, load_encoder

    if starts_from_folder(options):
        return load_checkpoint(options.encoder, options.context)
    return load_encoder(options.encoder, options.weights, options.context)
