"""Measure the trained model, beside the one it came from and the one that serves."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kfp import dsl

from components import page, releases, shards
from components.releases import NONE

SHOWN = 4  # queries in the strips


def evaluate(
    checkpoint: dsl.Input[dsl.Model],
    captions: dsl.Input[dsl.Dataset],
    pictures: str,
    work: str,
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    bars: dsl.Output[dsl.HTML],
    strips: dsl.Output[dsl.HTML],
    report: dsl.Output[dsl.Markdown],
    pictures_layout: str = "",
    encoder: str = "",
    encoder_digest: str = "",
    data: str = "",
    layout: str = "",
    split: str = "test",
    data_digest: str = "",
    store: str = "",
    release: str = "",
    serving_version: str = "",
    serving_fingerprint: str = "",
):
    """Measure the trained model on a data set's split, beside its first encoder and the serving release.

    Args:
        checkpoint: the trained model.
        captions: what it was trained on; without `data` the people held out of it are measured.
        pictures: folder of those pictures.
        work: the workspace.
        evaluation: results of every query, for the gate.
        metrics: R@1, R@5, R@10, mAP, mINP in percent.
        bars: all models side by side, with 95 % intervals.
        strips: some queries, and what each model finds.
        report: the table.
        pictures_layout: annotation layout of the pictures, where they are a data set.
        encoder: checkpoint folder that training began with; a named model is not measured.
        encoder_digest: of it.
        data: data set to measure on.
        layout: its annotation layout.
        split: its split.
        data_digest: of it.
        store: where the serving release is.
        release: its name.
        serving_version: its version, "none" where nothing serves.
        serving_fingerprint: its fingerprint.
    """
    from components.evaluate import measure, remember
    from components.step import measured, step

    with step("evaluate"):
        told = measure(
            checkpoint.path, captions.path, pictures, work,
            (evaluation.path, bars.path, strips.path, report.path),
            pictures_layout, encoder, data, layout, split, store, release, serving_version,
            serving_fingerprint,
        )  # fmt: skip
        measured(metrics, told)
        remember(evaluation, checkpoint, captions, f"{data_digest} {split}" if data else "", told)


def measure(
    checkpoint: str,
    captions: str,
    pictures: str,
    work: str,
    outputs: tuple[str, str, str, str],
    pictures_layout: str,
    encoder: str,
    data: str,
    layout: str,
    split: str,
    store: str,
    release: str,
    serving_version: str,
    serving_fingerprint: str,
) -> dict[str, float]:
    from ctgi.cli.encoders import CheckpointEncoders
    from ctgi.evaluation.bootstrap import confidence_intervals
    from ctgi.evaluation.protocol import embed_split, evaluate_plain
    from ctgi.export.runtime import OnnxEncoders

    evaluation, bars, strips, report = outputs
    with tempfile.TemporaryDirectory() as scratch:
        samples, where = _samples(captions, pictures, pictures_layout, data, layout, split, Path(scratch))
        models: dict[str, Any] = {}
        if encoder and (Path(encoder) / "config.json").is_file():
            models["before training"] = CheckpointEncoders(Path(encoder))
        if serving_version not in ("", NONE):
            folder = releases.local_copy(store, release, serving_version, serving_fingerprint, work)
            models["serving"] = OnnxEncoders(folder)
        models["trained"] = CheckpointEncoders(Path(checkpoint))
        splits = {name: embed_split(samples, model) for name, model in models.items()}
        results = {name: evaluate_plain(one) for name, one in splits.items()}
        page.write(strips, _strips(splits))
    intervals = {name: confidence_intervals(result) for name, result in results.items()}
    rows = [
        {"model": name, **{key: f"{i.value:.2f} ({i.low:.1f} to {i.high:.1f})" for key, i in row.items()}}
        for name, row in intervals.items()
    ]
    trained = results["trained"]
    about = f"{len(trained.queries)} queries, {trained.gallery} pictures of {where}"
    page.write(report, f"{about}; percent, 95 % intervals by identity\n\n{page.table(rows)}")
    values = {name: {k: (i.value, i.low, i.high) for k, i in row.items()} for name, row in intervals.items()}
    page.write(bars, page.page(f"Retrieval: {about}", page.bars(values)))
    _save(Path(evaluation), results, where)
    return trained.summary()


def _samples(
    captions: str, pictures: str, pictures_layout: str, data: str, layout: str, split: str, scratch: Path
) -> tuple[Any, str]:
    """What is measured on, and how to say it."""
    if data:
        from ctgi.cli.data import read_split

        return read_split(data, layout, split), f"{Path(data).name}, {split}"
    from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions
    from ctgi.datasets.splits import hold_out

    rows = read_pseudo_captions(captions)
    root = shards.bring(
        [shards.Picture("", row.path, None) for row in rows], pictures, pictures_layout, scratch
    )
    held = hold_out(pseudo_samples(rows, root), 0.1, seed=0)[1]
    return held, "people held out of training, described by pseudo-captions"


def remember(evaluation: Any, checkpoint: Any, captions: Any, on: str, told: dict[str, float]) -> None:
    """Lineage: which model was measured on what, `on` a data set or else on people of the captions."""
    from components.records import keep, recorded
    from ctgi.export.lineage import lineage, write_lineage

    with recorded(captions) as file:
        made_from = {"checkpoint": Path(checkpoint.path), "captions": file}
        record = lineage("evaluation", made_from, settings={"data": on}, metrics=told)
    write_lineage(Path(evaluation.path), record)
    keep(evaluation)


def _save(folder: Path, results: dict[str, Any], where: str) -> None:
    """A file a model, of what `ctgi.evaluation.metrics.Evaluation` holds."""
    import numpy as np

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, result in results.items():
        np.savez_compressed(folder / f"{name.replace(' ', '-')}.npz", **vars(result))
    (folder / "about.json").write_text(json.dumps({"where": where}), encoding="utf-8")


def _strips(splits: dict[str, Any]) -> str:
    """The first ten of each model for a few queries, spread evenly: not chosen by success."""
    from ctgi.evaluation.figures import Shown, Strip, draw_strip, png

    names = list(splits)
    first, last = splits[names[0]], splits[names[-1]]
    place = {key: number for number, key in enumerate(last.ids)}
    parts = []

    def shown(split: Any, query: int) -> list[Shown]:
        hits = split.search(split.text_vectors[query : query + 1], 10)
        wanted = last.wanted[query]
        return [
            Shown(last.paths[place[key]], bool(last.owned[place[key]] == wanted), float(score))
            for key, score in zip(hits.ids[0], hits.scores[0], strict=True)
        ]

    for number in range(min(SHOWN, len(last.texts))):
        query = number * len(last.texts) // min(SHOWN, len(last.texts))
        note = f"upper row: {names[0]}; lower row: {names[-1]}"
        strip = Strip(last.texts[query], shown(first, query), shown(last, query), note=note)
        parts.append(page.picture(png(draw_strip(strip)), last.texts[query]))
    return page.page("What is found", *parts)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(evaluate))
