"""The paper's ablation (Table 4) as a matrix: backbone x MTG x PES x MTI, trained and measured, and written
next to the paper's own figures.

Without MTG a model is trained on first descriptions (T_s), with it on interviews (T_e); without PES it has 77
text positions, with it 248. Each is measured without and, where a chat model is named, with MTI. Everything
goes to --out: runs/ (what `ctgi train` writes), cells/ and rows/ (what is finished), replies.sqlite (what the
chat model answered). Started again with the same arguments, it goes on where it was killed. --dry-run shows
the matrix, the command that trains each cell, and what is left to pay for; a cell trained by that command on
another machine and copied to runs/ is taken as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctgi.cli import cells, config, data, mti, reconstructor, server
from ctgi.cli.evaluate import add_cost
from ctgi.cli.figures import ready, write_figures
from ctgi.cli.numbers import positive
from ctgi.cli.train import starts_from_folder
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

if TYPE_CHECKING:
    from ctgi.datasets.annotations import Dataset, Sample

EXAMPLES = """\
examples:
  ctgi ablate RSTPReid --layout rstpreid --out ablation/ --captions captions/captions.parquet \\
      --pictures RSTPReid/imgs --encoder ViT-B-16-quickgelu --weights openai --models irra rde \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --dry-run
  ctgi ablate RSTPReid --layout rstpreid --out ablation/ --captions captions/captions.parquet \\
      --pictures RSTPReid/imgs --encoder clip/ --training short.yaml    # no MTI rows"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data set, captions, encoder, backbones, chat model, output."""
    parser.add_argument("root", nargs="?", metavar="DATASET", help="folder with the annotations and pictures")
    data.add_layout(parser, "of the data set")
    parser.add_argument("--split", choices=data.SPLITS, default="test", help="split (default: %(default)s)")
    parser.add_argument("--queries", type=positive, metavar="N", help="only N of the queries, spread evenly")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="runs and table.md, .tex, .json go there")
    group = parser.add_argument_group("training")
    group.add_argument("--captions", type=Path, metavar="PARQUET", help="what `ctgi caption` wrote")
    group.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the paths in it begin")
    group.add_argument(
        "--encoder", metavar="FOLDER|NAME", help="a checkpoint folder, or the name of an open_clip model"
    )
    group.add_argument("--weights", metavar="openai|FILE", help="weights of a named model")
    group.add_argument(
        "--models",
        nargs="+",
        choices=cells.BACKBONES,
        default=["irra", "rde"],
        help="backbones (default: irra rde)",
    )
    group.add_argument(
        "--training", type=Path, metavar="YAML", help="settings of `ctgi train` for every cell"
    )
    server.add_arguments(parser, "it sees the pictures; with it there are rows with MTI")
    mti.add_arguments(parser)
    reconstructor.add_arguments(parser)
    add_cost(parser)


def run(options: argparse.Namespace) -> int:
    """Train and measure every cell that is not there yet, and write the table."""
    config.need(
        options,
        root="no data set was named: ctgi ablate DATASET --layout LAYOUT",
        out="no place for the table was named: --out FOLDER",
        captions="no captions were named: --captions PARQUET, as `ctgi caption` writes it",
        pictures="the paths in the captions begin somewhere; say where with --pictures FOLDER",
        encoder="no encoder was named: --encoder FOLDER, or --encoder ViT-B-16-quickgelu --weights openai",
    )
    ready(json=options.json)
    reconstructor.check(options)
    mti.settings(options, 20)
    if getattr(options, "judge", "hard") == "dossier":
        raise CtgiError("--judge dossier: the ablation asks the model about each picture; leave it out")
    dataset = data.open_dataset(options.root, options.layout, renumber=True)
    samples = getattr(dataset, options.split)
    if not samples:
        raise CtgiError(f"{options.root}: its {options.split} split is empty; choose another with --split")
    matrix = [
        cells.TrainedCell(backbone, with_mtg, pes)
        for backbone in dict.fromkeys(options.models)
        for pes in (False, True)
        for with_mtg in (False, True)
    ]
    if options.dry_run:
        return _estimate(options, matrix, samples)
    with alone(options.out, "--out"):
        return _go(options, matrix, dataset, samples, server.wanted(options))


def _go(
    options: argparse.Namespace,
    matrix: Sequence[cells.TrainedCell],
    dataset: Dataset,
    samples: Sequence[Sample],
    with_model: bool,
) -> int:
    from ctgi.evaluation.paper import NOTES, Cell, paper_figures
    from ctgi.evaluation.table import Row, as_json, latex, markdown
    from ctgi.storage.atomic import write_json, write_text

    table: list[Row] = []
    printed: list[dict[str, float] | None] = []
    for number, cell in enumerate(matrix, start=1):
        print(f"[{number}/{len(matrix)}] {cell.name}", flush=True)
        weights = cells.train(options, cell)
        for fields in cells.measure(options, cell, weights, samples, dataset.val, with_model):
            row = Row.from_dict(fields)
            table.append(row)
            printed.append(paper_figures(options.layout, Cell(cell.backbone, row.mtg, row.mti, row.pes)))
    notes = list(NOTES.get(options.layout, ()))
    if options.queries is not None or not data.is_published(samples, options.layout, options.split):
        notes.insert(
            0,
            f"Measured on {Path(options.root).resolve().name}, {options.split}, which is not the whole "
            "published split: the paper's column is about other pictures.",
        )
    text = markdown(table, printed, notes)
    write_text(options.out / "table.md", text)
    title = f"Ablation on {Path(options.root).resolve().name}, {options.split}"
    write_text(options.out / "table.tex", latex(table, title, paper=printed, notes=notes))
    figures = as_json(table, paper=printed, notes=notes)
    write_json(options.out / "table.json", figures)
    print(text, end="")
    print(f"95 % intervals in brackets, by identity; {options.out}/table.md, .tex, .json")
    write_figures(options.json, "ablate", figures)
    return 0


def _estimate(
    options: argparse.Namespace, matrix: Sequence[cells.TrainedCell], samples: Sequence[Sample]
) -> int:
    """The matrix, what trains each cell, and what is left to do."""
    from ctgi.cli.estimate import print_mti_estimate

    plans = [cells.plan(options, cell) for cell in matrix]
    if not all(plan["trained"] for plan in plans):
        starts_from_folder(options)
    for plan in plans:
        print(f"{plan['cell']:<14} {'trained' if plan['trained'] else 'to train'}")
        print(f"    {plan['command']}")
    steps = sum(plan["steps"] for plan in plans if not plan["trained"])
    left = sum(not plan["trained"] for plan in plans)
    print(f"{len(plans)} cells, {left} to train: {steps:,} steps of {plans[0]['batch']} pictures in all")
    captions = sum(len(sample.captions) for sample in samples)
    count = min(captions, options.queries or captions)
    print(f"{2 * len(plans)} rows, half of them with MTI over {count} queries; what is measured stays:")
    figures = print_mti_estimate(options, len(plans) * count, [sample.picture for sample in samples])
    write_figures(options.json, "ablate", {**figures, "cells": plans, "training_steps": steps})
    return 0
