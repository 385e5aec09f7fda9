"""The encoders that a command measures with: those of a release, or of a checkpoint that training wrote."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.errors import CtgiError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ctgi.evaluation.protocol import Encoders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--release or --checkpoint."""
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="a release that `ctgi export` wrote")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="a checkpoint that `ctgi train` wrote"
    )


def open_encoders(options: argparse.Namespace) -> tuple[Encoders, Mapping[str, Any]]:
    """The encoders, and what a release says about MTI (a checkpoint says nothing)."""
    if (options.release is None) == (options.checkpoint is None):
        raise CtgiError(
            f"name one model: --release FOLDER or --checkpoint FOLDER (see ctgi {options.command} --help)"
        )
    if options.release is not None:
        from ctgi.export.runtime import OnnxEncoders

        encoders = OnnxEncoders(options.release)
        return encoders, encoders.release.mti
    return CheckpointEncoders(options.checkpoint), {}


class CheckpointEncoders:
    """A checkpoint's encoder in torch, behind the two methods of a release's."""

    def __init__(self, folder: Path, batch: int = 64) -> None:
        import torch

        from ctgi.encoders.loading import load_checkpoint

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = load_checkpoint(folder).to(self._device).eval()
        self._batch = batch

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 (N, D); texts of like length share a batch, so that little padding is computed."""
        import numpy as np
        import torch

        from ctgi.encoders.tokens import tokenize

        ids = tokenize(texts, self._encoder.context)
        lengths = ids.argmax(dim=1) + 1  # the end token has the largest id
        out = np.empty((len(texts), self._encoder.dim), dtype=np.float32)
        with torch.inference_mode():
            order = torch.argsort(lengths, stable=True)
            for start in range(0, len(order), self._batch):
                rows = order[start : start + self._batch]
                part = ids[rows, : int(lengths[rows].max())].to(self._device)
                out[rows.numpy()] = self._encoder.encode_text(part).cpu().numpy()
        return out

    def encode_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """float32 (N, D)."""
        import numpy as np
        import torch

        from ctgi.encoders.pixels import normalised, resized

        out = np.empty((len(pictures), self._encoder.dim), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(pictures), self._batch):
                part = pictures[start : start + self._batch]
                pixels = normalised(np.stack([resized(picture) for picture in part]))
                vectors = self._encoder.encode_image(torch.from_numpy(pixels).to(self._device))
                out[start : start + len(part)] = vectors.cpu().numpy()
        return out
