"""Turn the trained checkpoint into a release."""

import json
import tempfile
from pathlib import Path

from kfp import dsl


def export(
    checkpoint: dsl.Input[dsl.Model],
    exported: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    release: str = "ctgi",
    captions_digest: str = "",
    pictures_list: str = "",
    encoder_digest: str = "",
    data: str = "",
    layout: str = "",
    data_digest: str = "",
):
    """Turn the trained checkpoint into a release: two ONNX files, tokenizer, pre-processing, release.json.

    Args:
        checkpoint: the trained model.
        exported: the release.
        metrics: sizes of its files.
        release: its name.
        captions_digest: of what it was trained on.
        pictures_list: digest of the list of training pictures.
        encoder_digest: of the encoder that training began with.
        data: data set; the similarity scale of MTI is fitted on its val split.
        layout: its annotation layout.
        data_digest: of it.
    """
    from components.export import write_release
    from components.records import keep
    from components.step import measured, step

    with step("export"):
        lineage = {"captions": captions_digest, "pictures_list": pictures_list, "encoder": encoder_digest,
                   "data": data_digest}  # fmt: skip
        told = write_release(checkpoint.path, exported.path, release, lineage, data, layout)
        measured(metrics, {f"bytes of {name}": float(size) for name, size in told["sizes"].items()})
        exported.metadata["fingerprint"] = told["fingerprint"]
        keep(exported)


def write_release(
    checkpoint: str,
    exported: str,
    name: str,
    lineage: dict[str, str],
    data: str,
    layout: str,
) -> dict:
    from dataclasses import replace

    from components.step import ctgi
    from ctgi.export.release import Release
    from ctgi.interaction.calibration import FEWEST_QUERIES

    with tempfile.TemporaryDirectory() as scratch:
        figures = Path(scratch, "figures.json")
        words: list[object] = ["export", checkpoint, "--out", exported, "--name", name, "--replace"]
        if data and _queries(data, layout) >= FEWEST_QUERIES:
            words += ["--calibrate", data, "--layout", layout]
        else:
            print("too few val queries to fit the similarity scale of MTI; left as it is", flush=True)
        ctgi(*words, "--json", figures)
        told = json.loads(figures.read_text(encoding="utf-8"))["release"]
    release = Release.load(exported)
    replace(release, lineage={**release.lineage, **lineage}).save(exported)
    return told


def _queries(data: str, layout: str) -> int:
    from ctgi.cli.data import open_dataset

    return sum(len(sample.captions) for sample in open_dataset(data, layout, renumber=True).val)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(export))
