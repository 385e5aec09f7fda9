"""The measurement in a demo's folder: captions from the demo, wrong answers, one cell after another."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ctgi.captioning.progress import duration
from ctgi.cli.figures import plain
from ctgi.errors import CtgiError
from ctgi.storage.atomic import read_json, write_bytes, write_json
from demo.learn import LAYOUT, PARQUET, train_options
from demo.loop import Loop
from demo.noise.grid import PRETRAINED, SECONDS, Cell
from demo.settings import SMALL, Settings
from demo.stages import Record, digest_of

if TYPE_CHECKING:
    from ctgi.training.config import TrainConfig
    from demo.noise.cell import Bench

CELLS, RUNS, TABLE, FIGURE, RESULTS = "cells", "runs", "table.md", "figure.png", "results.json"
_CODE = 3
"""Part of every cell's key: raise it when what a cell measures is another thing."""
_NEEDED = ("world", "captions")
DETAILED, OWN = "detailed", "own"
"""The query sets: detailed descriptions, and the test split's own queries."""


class Captioned(Loop):
    """The demo's loop as far as its captions, made or found by the very stages that the demo has."""

    def stage(self, name: str, *arguments: Any, **named: Any) -> Record:
        return super().stage(name, *arguments, **named) if name in _NEEDED else Record(name, "", False)


def measure(loop: Loop, todo: Sequence[Cell], threads: int) -> dict[Cell, Mapping[str, Any]]:
    """Measure the pre-trained CLIP and every cell that have no record yet; returns the records of all."""
    captioned = Captioned(**{f.name: getattr(loop, f.name) for f in dataclasses.fields(loop)})
    captioned.learn()
    wrong = _wrong(captioned)
    todo, key = (PRETRAINED, *todo), _key(captioned)
    records = found(loop.out, todo, key)
    missing = [cell for cell in todo if cell not in records]
    if missing:
        import torch

        torch.set_num_threads(threads)
        bench = _bench(captioned, wrong, sorted({cell.rate for cell in missing}))
    for number, cell in enumerate(missing, start=1):
        start = time.monotonic()
        record = plain(_record(cell, bench, loop.out / "noise" / RUNS / cell.name))
        write_json(
            loop.out / "noise" / CELLS / f"{cell.name}.json",
            {"cell": dataclasses.asdict(cell), "made_of": key, **record},
        )
        records[cell] = record
        left = remaining(missing[number:], records)
        r1 = record["metrics"][DETAILED]["R@1"]["value"]
        print(
            f"[{number:>3}/{len(missing)}] {cell.name}: R@1 {r1:.1f} in {time.monotonic() - start:.0f} s; "
            f"about {duration(left)} left",
            flush=True,
        )
    return {cell: records[cell] for cell in todo}


def _record(cell: Cell, bench: Bench, place: Path) -> Mapping[str, Any]:
    from ctgi.encoders.loading import load_checkpoint
    from demo.noise.cell import CONTEXT, measured, run_cell

    if cell != PRETRAINED:
        return run_cell(cell, bench, place)
    metrics = measured(load_checkpoint(bench.clip, CONTEXT), bench, place)
    return {"metrics": metrics, "trust": None, "cell_seconds": 0.0}


def tell(loop: Loop, records: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Write table, figure and results; returns the table."""
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pseudo import read_pseudo_captions
    from demo.noise.task import EACH
    from demo.noise.tell import markdown, save_figure

    place, test = loop.out / "noise", read_dataset(loop.out / "world", LAYOUT).test
    config = options(loop.settings)
    facts = {
        "queries": {DETAILED: EACH * len(test), OWN: sum(len(sample.captions) for sample in test)},
        "gallery": len(test),
        "people": len({sample.identity for sample in test}),
        "captions": len(read_pseudo_captions(loop.out / "captions" / PARQUET)),
        "select": config.select,
        "options": dataclasses.asdict(config),
    }
    table = markdown(records, facts)
    rows = [{**dataclasses.asdict(cell), **record} for cell, record in records.items()]
    write_json(place / RESULTS, plain({**facts, "cells": rows}))
    write_bytes(place / TABLE, f"{table}\n".encode())
    save_figure(records, place / FIGURE)
    return table


def found(out: Path, todo: Sequence[Cell], key: str | None) -> dict[Cell, Mapping[str, Any]]:
    """Records of cells that were measured before; only those made of `key` where it is given."""
    records = {}
    for cell in todo:
        file = out / "noise" / CELLS / f"{cell.name}.json"
        try:
            record = read_json(file) if file.exists() else {}
        except CtgiError:
            continue  # torn by something other than us: the cell is measured again
        if record.get("metrics") and key in (None, record.get("made_of")):
            records[cell] = record
    return records


def remaining(todo: Sequence[Cell], records: Mapping[Cell, Mapping[str, Any]]) -> float:
    """Seconds that these cells will take, by those of the same model that were measured."""
    total = 0.0
    for cell in todo:
        known = [record["cell_seconds"] for done, record in records.items() if done.model == cell.model]
        total += fmean(known) if known else SECONDS[cell.model]
    return total


def options(settings: Settings) -> TrainConfig:
    """How every cell trains; tiny worlds as in their demo."""
    from demo.noise.task import LEARNING

    config: TrainConfig = train_options(settings)
    return config if settings is SMALL else dataclasses.replace(config, **LEARNING)


def _key(loop: Loop) -> str:
    return digest_of(
        {
            "code": _CODE,
            "clip": loop.clip_digest,
            "options": dataclasses.asdict(options(loop.settings)),
            "captions": loop.stages.records["captions"].digest,
            "wrong": loop.stages.records["noise-words"].digest,
        }
    )


def _wrong(loop: Loop) -> Mapping[tuple[int, int], tuple[str, float | None]]:
    """(row, pair) -> another answer, and the probability that the model gives to it."""

    def work(place: Path) -> dict[str, Any]:
        from ctgi.datasets.pseudo import read_pseudo_captions
        from demo.noise.corrupt import wrong_answers
        from demo.noise.forced import forced_probabilities

        captions = read_pseudo_captions(loop.out / "captions" / PARQUET)
        wanted = wrong_answers(captions, loop.settings.seed)
        pictures = loop.out / "world" / "imgs"
        given = forced_probabilities(wanted, captions, pictures, loop.chat, loop.settings.concurrency)
        rows = [[item.row, item.pair, item.answer, p] for item, p in zip(wanted, given, strict=True)]
        write_json(place / "words.json", rows)
        return {"answers": len(rows)}

    loop.stages.run(
        "noise-words",
        "ask how likely the wrong answers are",
        {"code": _CODE, "captions": loop.stages.records["captions"].digest, "model": loop.chat.digest},
        work,
        folder="noise/words",
        outputs=("words.json",),
    )
    rows = read_json(loop.out / "noise" / "words" / "words.json")
    return {(row, pair): (answer, probability) for row, pair, answer, probability in rows}


def _bench(
    loop: Loop, wrong: Mapping[tuple[int, int], tuple[str, float | None]], rates: Sequence[float]
) -> Bench:
    from ctgi.captioning.composer import Composer
    from ctgi.captioning.pool import default_pool
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pseudo import read_pseudo_captions
    from demo.noise.cell import Bench
    from demo.noise.corrupt import corrupted
    from demo.noise.task import described

    captions = read_pseudo_captions(loop.out / "captions" / PARQUET)
    composer, seed = Composer(default_pool()), loop.settings.seed
    world = loop.out / "world"
    data = read_dataset(world, LAYOUT)
    return Bench(
        described(data.val, world),
        {DETAILED: described(data.test, world), OWN: data.test},
        world / "imgs",
        loop.clip,
        options(loop.settings),
        {rate: corrupted(captions, rate, wrong, composer, seed) for rate in rates},
    )
