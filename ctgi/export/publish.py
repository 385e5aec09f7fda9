"""From a trained encoder to a release folder that is whole or absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.export.convert_tokenizer import write_tokenizer
from ctgi.export.lineage import LINEAGE, write_lineage
from ctgi.export.onnx_files import frozen, write_onnx
from ctgi.export.parity import check_parity
from ctgi.export.preprocess import Preprocess
from ctgi.export.release import FILES, PREPROCESS, RELEASE, TOKENIZER, Release, fingerprint
from ctgi.storage.atomic import atomic_directory, write_json
from ctgi.storage.replacing import obstacle


def export_release(
    encoder: Any,
    out: Path | str,
    *,
    name: str,
    version: str = "1",
    preprocess: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    mti: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    record: Callable[[Release], Mapping[str, Any]] | None = None,
    tolerance: float = 1e-4,
    replace: bool = False,
    report: Callable[[str], None] = print,
) -> Release:
    """Export `encoder`, check the files against it, and publish them at `out` by one rename.

    Args:
        encoder: a `DualEncoder`: `encode_text` (ids int64 (B, L) -> float32 (B, D)), `encode_image` (float32
            (B, 3, H, W) -> float32 (B, D)), both of unit norm, and `context`.
        preprocess: the content of `preprocess.json` (height, width, resample, mean, std).
        metrics, mti, lineage: recorded in `release.json` as they are; JSON values.
        record: makes the lineage record that goes with it (`ctgi.export.lineage`); without it there is none.
        tolerance: largest difference allowed between a file and the model.
        replace: whether a release already at `out` may be replaced. Nothing else ever is.
        report: takes the lines to show.

    Raises:
        CtgiError: `out` exists and `replace` is false, or it holds what is not of a release; the export
            fails, or it differs from the model.
    """
    read = Preprocess.read(preprocess)
    size = read.height, read.width
    model = frozen(encoder)
    _make_way(Path(out), replace)  # before minutes of work rather than after
    with atomic_directory(out, replace=replace) as folder:
        write_onnx(model, folder, size=size)
        parity = check_parity(model, folder, size=size, tolerance=tolerance, report=report)
        write_tokenizer(folder / TOKENIZER)
        write_json(folder / PREPROCESS, dict(preprocess))
        release = Release(
            name=name,
            version=version,
            fingerprint=fingerprint(folder),
            embedding_dim=_dim(model, size),
            context=int(encoder.context),
            metrics={**(metrics or {}), "parity": {"text": parity.text_error, "picture": parity.image_error}},
            mti=dict(mti or {}),
            lineage=dict(lineage or {}),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sizes={file: (folder / file).stat().st_size for file in FILES},
        )
        release.save(folder)
        if record is not None:
            write_lineage(folder, record(release))
        _make_way(Path(out), replace)  # again: something may have come meanwhile
    return release


def _make_way(out: Path, replace: bool) -> None:
    """Raise CtgiError where something is at `out` that may not be replaced, or was not said to be."""
    if not os.path.lexists(out):
        return
    if why := obstacle(out, (*FILES, RELEASE, LINEAGE)):
        raise CtgiError(
            f"{out}: exists already and cannot be replaced: {why}; move it away or choose another path"
        )
    if not replace:
        raise CtgiError(f"{out}: exists already; choose another path or ask to replace it (--replace)")


def _dim(model: Any, size: tuple[int, int]) -> int:
    import torch

    with torch.no_grad():
        return int(model.encode_image(torch.zeros(1, 3, *size)).shape[1])
