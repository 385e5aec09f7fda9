"""Whether the exported files say what the model says, over a grid of batches and lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.export.release import IMAGE_ENCODER, TEXT_ENCODER

BATCHES = (1, 2, 5, 8)
LENGTHS = (2, 3, 16, 20, 32, 64, 77, 128, 248)
START, END = 49406, 49407


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        text_error, image_error: largest absolute difference of a coordinate of the unit-norm vectors.
        rank_agreement: share of texts whose whole ranking of the probe pictures is the same, rankings
            being held for the same where they differ only among scores closer than twice the tolerance.
        cases: number of (batch, length) pairs and batches of pictures compared.
    """

    text_error: float
    image_error: float
    rank_agreement: float
    cases: int

    def __str__(self) -> str:
        return (
            f"parity over {self.cases} shapes: largest error text {self.text_error:.1e}, picture "
            f"{self.image_error:.1e}; rank agreement {100 * self.rank_agreement:.1f} %"
        )


def check_parity(
    encoder: Any,
    folder: Path,
    *,
    size: tuple[int, int],
    batches: Sequence[int] = BATCHES,
    lengths: Sequence[int] = LENGTHS,
    tolerance: float = 1e-4,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Parity:
    """Compare the ONNX files in `folder` with `encoder` (float32, CPU) on random texts and pictures.

    Lengths beyond the encoder's context are left out and the context itself is always among them. Every
    text is also run with padding behind its end token, which must change nothing.

    Raises:
        CtgiError: a difference above `tolerance`, a ranking that changes, or a file that does not run.
    """
    import onnxruntime

    rng = np.random.default_rng(seed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        text, image = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in (TEXT_ENCODER, IMAGE_ENCODER)
        )
    except Exception as error:
        raise CtgiError(
            f"{folder}: ONNX Runtime cannot load the export ({str(error).splitlines()[0]})"
        ) from error

    grid = sorted({min(length, int(encoder.context)) for length in (*lengths, int(encoder.context))})
    ours: list[NDArray[np.float32]] = []
    theirs: list[NDArray[np.float32]] = []
    for length in grid:
        for batch in batches:
            ids = _texts(rng, batch, length)
            padded = np.pad(ids, ((0, 0), (0, min(3, int(encoder.context) - length))))
            with torch.no_grad():
                expected = encoder.encode_text(torch.from_numpy(ids)).numpy()
            for given in (ids, padded):
                theirs.append(_run(text, "ids", given, TEXT_ENCODER))
                ours.append(expected)
    pictures: list[NDArray[np.float32]] = []
    pictures_onnx: list[NDArray[np.float32]] = []
    for batch in batches:
        pixels = rng.standard_normal((batch, 3, *size), dtype=np.float32)
        with torch.no_grad():
            pictures.append(encoder.encode_image(torch.from_numpy(pixels)).numpy())
        pictures_onnx.append(_run(image, "pixels", pixels, IMAGE_ENCODER))

    text_torch, text_onnx = np.concatenate(ours), np.concatenate(theirs)
    image_torch, image_onnx = np.concatenate(pictures), np.concatenate(pictures_onnx)
    parity = Parity(
        text_error=_largest(text_torch, text_onnx),
        image_error=_largest(image_torch, image_onnx),
        rank_agreement=rank_agreement(text_torch @ image_torch.T, text_onnx @ image_onnx.T, 2 * tolerance),
        cases=len(grid) * len(batches) + len(batches),
    )
    report(str(parity))
    worst = max(parity.text_error, parity.image_error)
    if not worst <= tolerance or parity.rank_agreement < 1.0:  # `not <=` so that NaN fails too
        raise CtgiError(f"the export differs from the model: {parity}; allowed {tolerance:.0e} and 100 %")
    return parity


def rank_agreement(
    ours: NDArray[np.floating[Any]], theirs: NDArray[np.floating[Any]], tolerance: float
) -> float:
    """Share of rows (texts, pictures) whose pictures stand in the same order in both score tables.

    Two pictures count as tied, and may swap, where `ours` puts them within `tolerance` of each other.
    """
    order = np.argsort(-theirs, axis=1, kind="stable")
    along = np.take_along_axis(
        ours, order, axis=1
    )  # our scores in their order: may rise only within the tolerance
    rises = along - np.minimum.accumulate(along, axis=1)
    return float(np.mean(np.all(rises <= tolerance, axis=1)))


def _texts(rng: np.random.Generator, batch: int, length: int) -> NDArray[np.int64]:
    ids = rng.integers(1, START, size=(batch, length), dtype=np.int64)
    ids[:, 0] = START
    ids[:, -1] = END
    return ids


def _run(session: Any, name: str, value: NDArray[Any], file: str) -> NDArray[np.float32]:
    try:
        [out] = session.run(None, {name: value})
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CtgiError(f"{file}: does not run on an input of shape {value.shape} ({reason})") from error
    return np.asarray(out, dtype=np.float32)


def _largest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.max(np.abs(ours.astype(np.float64) - theirs)))
