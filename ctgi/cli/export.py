"""Turn a trained checkpoint into a release: two ONNX files, tokenizer, pre-processing and release.json.

The files are compared with the model over a grid of batches and lengths before they are published. With
--calibrate the similarity scale of MTI is fitted on a data set's val split and kept in the release.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, data, records
from ctgi.cli.figures import write_figures
from ctgi.cli.numbers import positive
from ctgi.cli.progress import counter
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.export.release import Release

EXAMPLES = """\
examples:
  ctgi export run/best --out release/ --name rstpreid
  ctgi export run/best --out release/ --name rstpreid --calibrate RSTPReid --layout rstpreid
  ctgi export --out release/ --calibrate RSTPReid --layout rstpreid    # a release that is there, scale
  only"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoint, release, calibration."""
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="folder that `ctgi train` wrote: run/best"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the release")
    parser.add_argument("--name", help="its name (default: the name of the folder)")
    parser.add_argument(
        "--release-version",
        type=positive,
        default=1,
        metavar="V",
        help="its version, a whole number (default: %(default)s)",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace a release that is there, and nothing else"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="largest difference allowed to the model (default: %(default)s)",
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="DATASET", help="fit MTI's similarity scale on its val split"
    )
    data.add_layout(parser, "of that data set")


def run(options: argparse.Namespace) -> int:
    """Export, calibrate, and print both."""
    config.need(options, out="no place for the release was named: --out FOLDER")
    if options.checkpoint is None and options.calibrate is None:
        raise CtgiError("nothing to do: name a checkpoint to export, or a data set to --calibrate with")
    figures: dict[str, Any] = {}
    if options.checkpoint is not None:
        figures |= _export(options)
    if options.calibrate is not None:
        figures["calibration"] = _calibrate(options)
    from ctgi.export.release import Release

    release = Release.load(options.out, verify=False)
    print(f"release {release.name} {release.version}: {options.out}, fingerprint {release.fingerprint[:12]}")
    write_figures(options.json, "export", {**figures, "release": release})
    return 0


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from safetensors import safe_open

    from ctgi.encoders.loading import WEIGHTS, load_checkpoint
    from ctgi.encoders.pixels import preprocess_spec
    from ctgi.export.lineage import lineage
    from ctgi.export.publish import export_release
    from ctgi.storage.manifest import check_name

    folder = Path(options.checkpoint)
    name = options.out.resolve().name if options.name is None else check_name(options.name)
    records.usable(folder)
    encoder = load_checkpoint(folder)
    with safe_open(folder / WEIGHTS, framework="np") as file:
        facts = dict(file.metadata() or {})
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        print(line)

    def record(release: Release) -> dict[str, Any]:
        said = {"fingerprint": release.fingerprint}
        made_from = {"checkpoint": folder}
        return lineage("release", made_from, name=release.name, settings=said, metrics=release.metrics)

    export_release(
        encoder,
        options.out,
        name=name,
        version=str(options.release_version),
        preprocess=preprocess_spec(),
        metrics={"val": json.loads(facts["metrics"])} if "metrics" in facts else {},
        lineage={
            "checkpoint": folder.name,
            **{name: facts[name] for name in ("epoch", "trained_on", "selected_on") if name in facts},
        },
        record=record,
        tolerance=options.tolerance,
        replace=options.replace,
        report=report,
    )
    return {"report": lines}


def _calibrate(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.evaluation.protocol import embed_split, top1
    from ctgi.export.release import record_mti
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.interaction.calibration import fit_calibration

    samples = data.read_split(options.calibrate, options.layout, "val")
    release = OnnxEncoders(options.out)
    split = embed_split(samples, release, progress=counter("embed", "pictures"))
    cosines, right = top1(split)
    fitted = fit_calibration(cosines, right)
    record_mti(options.out, {**release.release.mti, "calibration": fitted.to_dict()})
    print(
        f"similarity scale, fitted on {fitted.queries} val queries: P(top-1 right) = "
        f"1 / (1 + exp(-({fitted.slope:.2f} cosine {fitted.intercept:+.2f}))); "
        f"calibration error {fitted.ece_before:.3f} before, {fitted.ece:.3f} after"
    )
    return fitted.to_dict()
