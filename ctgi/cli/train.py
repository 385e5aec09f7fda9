"""Fine-tune a CLIP-style retrieval model on captions: pseudo-captions that `ctgi caption` wrote, or a data
set's own.

The epoch is chosen on validation data, never on test. Killed and started again with the same arguments, a run
continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data
from ctgi.cli.figures import write_figures
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.datasets.annotations import Sample

EXAMPLES = """\
examples:
  ctgi train captions/captions.parquet --pictures photos/ --out run/ --encoder ViT-B-16-quickgelu --weights
  openai ctgi train captions/captions.parquet --pictures RSTPReid/imgs --val RSTPReid --layout rstpreid --out
  run/ \\
      --encoder clip/ --epochs 12 --batch-size 32
  ctgi train RSTPReid --layout rstpreid --out supervised/ --encoder ViT-B-16-quickgelu --weights openai"""

# Flags that are fields of TrainConfig, with its defaults; only those that are given are passed on.
FIELDS: dict[str, tuple[type, str]] = {
    "epochs": (int, "passes over the captions (60)"),
    "batch-size": (int, "pairs in a step (64)"),
    "base-lr": (float, "learning rate of pre-trained weights (1e-5)"),
    "weight-decay": (float, "L2 (4e-5)"),
    "adam-eps": (float, "Adam's epsilon (1e-3; 1e-8 for small models)"),
    "warmup-epochs": (float, "epochs of warm-up (5 of 60)"),
    "lr-step": (str, "epoch or step: when the rate changes (epoch)"),
    "sdm-scale": (float, "scale of the SDM loss (50)"),
    "seed": (int, "of everything that is drawn (1)"),
    "device": (str, "auto, cpu, cuda, … (auto)"),
    "precision": (str, "auto, fp32, bf16, fp16 (auto)"),
    "select": (str, "validation metric that chooses the epoch (R@1)"),
    "checkpoint-steps": (int, "save every so many steps, besides each epoch (0)"),
    "cache-gb": (float, "decoded pictures kept in memory (8)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, encoder, output, and every field of TrainConfig."""
    parser.add_argument(
        "captions", nargs="?", metavar="CAPTIONS", help="a pseudo-caption Parquet, or a data set's folder"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the run is kept")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="where the paths of the Parquet begin"
    )
    parser.add_argument(
        "--text",
        choices=("caption", "static_caption"),
        default="caption",
        help="train on T_e, the interview's caption, or on T_s, the first description (default: %(default)s)",
    )
    data.add_layout(parser, "of a data set's folder")
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
    group = parser.add_argument_group("training (published value or default in brackets)")
    for name, (kind, what) in FIELDS.items():
        group.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=what)
    group.add_argument("--no-augment", action="store_true", help="no flip, crop and erasing")


def run(options: argparse.Namespace) -> int:
    """Train, and print the best epoch's validation metrics."""
    config.need(
        options,
        captions="no captions were named: ctgi train CAPTIONS",
        out="no place for the run was named: --out FOLDER",
        encoder="no encoder was named: --encoder FOLDER, or --encoder ViT-B-16-quickgelu --weights openai",
    )
    from ctgi.training.config import TrainConfig

    given = {name.replace("-", "_") for name in FIELDS} & set(vars(options))
    settings = TrainConfig.from_mapping(
        {**{name: getattr(options, name) for name in given}, "augment": not options.no_augment}
    )
    samples, val = _sets(options)
    import torch

    from ctgi.training.engine import train

    torch.manual_seed(settings.seed)
    result = train(settings, samples, val, _encoder(options), options.out)
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    print(f"{len(samples)} pictures, {settings.epochs} epochs, {result.seconds:.0f} s")
    print(f"best epoch {result.best_epoch} on val: {metrics}")
    print(f"checkpoint: {result.best}")
    write_figures(
        options.json,
        "train",
        {
            "pictures": len(samples),
            "captions": sum(len(sample.captions) for sample in samples),
            "val_pictures": len(val),
            "settings": settings,
            "best_epoch": result.best_epoch,
            "metrics": result.metrics,
            "history": result.history,
            "seconds": result.seconds,
            "checkpoint": result.best,
        },
    )
    return 0


def _sets(options: argparse.Namespace) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Training and validation samples."""
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.splits import hold_out

    source = Path(options.captions)
    samples: Sequence[Sample]
    val: Sequence[Sample] = ()
    if options.layout is not None and (source.is_dir() and options.val is None):
        dataset = read_dataset(source, options.layout)
        samples, val = dataset.train, dataset.val
    else:
        from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions

        if options.pictures is None:
            raise CtgiError(f"{source}: the paths in it begin somewhere; say where with --pictures FOLDER")
        samples = pseudo_samples(read_pseudo_captions(source), options.pictures, options.text)
        if options.val is not None:
            if options.layout is None:
                raise CtgiError(
                    f"{options.val}: name its layout, --layout cuhk-pedes, icfg-pedes or rstpreid"
                )
            val = read_dataset(options.val, options.layout).val
    if not val:
        samples, val = hold_out(samples, options.hold_out, seed=0)
        print(f"no val split: {options.hold_out:.0%} of the training identities are held out for it")
    return samples, val


def _encoder(options: argparse.Namespace) -> Any:
    from ctgi.encoders.loading import load_checkpoint, load_encoder

    if (Path(options.encoder) / "config.json").is_file():
        if options.weights is not None:
            raise CtgiError(
                f"{options.encoder}: a checkpoint folder brings its own weights; leave --weights out"
            )
        return load_checkpoint(options.encoder, options.context)
    if options.weights is None:
        raise CtgiError(
            f"{options.encoder}: no checkpoint folder; a model's name needs --weights openai or a file"
        )
    return load_encoder(options.encoder, options.weights, options.context)
