"""The lineage record of what a command makes, from digests that are at hand: large files are not read again.

Steps of the pipelines that do the work of a command call these, too, so that a record says the same whoever
made the artifact.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli.figures import plain

if TYPE_CHECKING:
    from ctgi.captioning.summary import CaptionSummary
    from ctgi.export.lineage import Input
    from ctgi.training.config import TrainConfig
    from ctgi.training.engine import TrainResult


def usable(*inputs: Path) -> None:
    """Raise CtgiError where the record beside an input is damaged: before the work rather than after it."""
    from ctgi.export.lineage import beside_of, read_lineage

    for path in inputs:
        if beside_of(path).exists():
            read_lineage(path)


def pictures_digest(ids: Iterable[str]) -> str:
    """Of a set of pictures, from the SHA-256 of each: their ids."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    return f"sha256:{digest}"


def captions_record(
    captions: Path, metrics: Mapping[str, Any], inputs: Mapping[str, Input] | None = None
) -> dict[str, Any]:
    """Of a pseudo-caption file: its pictures, models and prompts are in it. `inputs` are files that it was
    made from, where it was not made from pictures alone."""
    import pyarrow.parquet as pq

    from ctgi.export.lineage import lineage

    columns = ("picture_id", "model", "prompt_version", "reconstructor")
    table = pq.read_table(captions, columns=list(columns))
    ids, *facts = (table.column(name).to_pylist() for name in columns)
    model, interview, reconstructor = (", ".join(sorted(set(values))) for values in facts)
    return lineage(
        "captions",
        {"pictures": pictures_digest(ids), **(inputs or {})},
        prompts={"interview": interview, "reconstructor": reconstructor},
        settings={"model": model},
        metrics=metrics,
    )


def remember_captions(summary: CaptionSummary) -> None:
    """Write the record of what `ctgi caption` made."""
    from ctgi.export.lineage import write_lineage

    pairs = {"rows": summary.rows, "kept": summary.kept, "dropped": summary.dropped}
    write_lineage(summary.parquet, captions_record(summary.parquet, pairs))


def remember_checkpoint(options: argparse.Namespace, settings: TrainConfig, result: TrainResult) -> None:
    """Write the record of the best epoch of `ctgi train`; the run's folder knows the digests of its data and
    of the weights that it began with."""
    from ctgi.export.lineage import lineage, write_lineage
    from ctgi.storage.atomic import read_json

    card = read_json(options.out / "run.json")
    source, samples = Path(options.captions), f"sha256:{card['training set']}"
    record = lineage(
        "checkpoint",
        {
            "captions": source if source.is_file() else (source, samples),
            "training set": samples,
            "validation set": f"sha256:{card['validation set']}",
            "encoder": (Path(options.encoder), f"sha256:{card['initial weights']}"),
        },
        seed=settings.seed,
        settings=plain({"model": options.model, **vars(settings)}),
        metrics=plain({"epoch": result.best_epoch, **result.metrics}),
    )
    write_lineage(result.best, record)


def gallery_record(
    ids: Sequence[str], fingerprint: str, inputs: Mapping[str, Input], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Of a gallery of these pictures, embedded by the release with this fingerprint."""
    from ctgi.export.lineage import lineage

    return lineage(
        "gallery",
        {"pictures": pictures_digest(ids), **inputs},
        settings={"fingerprint": fingerprint, **settings},
        metrics={"pictures": len(ids)},
    )


def remember_gallery(options: argparse.Namespace, ids: Sequence[str], fingerprint: str) -> None:
    """Write the record of what `ctgi index` made."""
    from ctgi.export.lineage import write_lineage

    release = {"release": (options.release, f"sha256:{fingerprint}")}
    asked = {"dossiers": options.model} if options.dossiers else {}
    write_lineage(options.out, gallery_record(ids, fingerprint, release, asked))
