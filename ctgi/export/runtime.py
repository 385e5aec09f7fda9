"""The encoders of a release in this process: ONNX Runtime, numpy and Pillow, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctgi.errors import CtgiError
from ctgi.export.preprocess import Preprocess
from ctgi.export.release import IMAGE_ENCODER, PREPROCESS, TEXT_ENCODER, TOKENIZER, Release
from ctgi.export.tokenizer import TextTokenizer, pad
from ctgi.storage.atomic import read_json

BUCKETS = (32, 64, 128, 248)


class OnnxEncoders:
    """Texts and pictures to unit-norm vectors.

    Only real tokens are paid for (design, 4.3): the tower is causal and read at the end token, so a batch
    is cut to its longest text, and texts of one batch come from one length bucket so that a long one makes
    no short one dear.
    """

    def __init__(
        self,
        release_dir: Path | str,
        *,
        threads: int | None = None,
        batch: int = 32,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        verify: bool = True,
    ) -> None:
        """Load the release in `release_dir`.

        Args:
            threads: for ONNX Runtime; None leaves the choice to it.
            batch: the most texts or pictures in one run.
            providers: ONNX Runtime's execution providers, in order of preference.
            verify: compare the files with the fingerprint first.

        Raises:
            CtgiError: no release, changed files, or files that ONNX Runtime cannot load.
        """
        folder = Path(release_dir)
        self.release = Release.load(folder, verify=verify)
        self._batch = batch
        self._tokenizer = TextTokenizer(folder / TOKENIZER, self.release.context)
        self._preprocess = Preprocess.read(read_json(folder / PREPROCESS))
        self._text = _session(folder / TEXT_ENCODER, threads, providers)
        self._image = _session(folder / IMAGE_ENCODER, threads, providers)

    @property
    def fingerprint(self) -> str:
        """Of the release; a gallery index answers only for the one it was built with."""
        return self.release.fingerprint

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self.release.embedding_dim

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts to float32 (N, D) of unit norm. Text beyond the context is cut as in training."""
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        ids = self._tokenizer.encode(texts)
        for rows in bucketed([len(row) for row in ids], self._batch):
            [out[rows]] = self._text.run(None, {"ids": pad([ids[row] for row in rows])})
        return out

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Pictures of any mode and size to float32 (N, D) of unit norm."""
        out = np.empty((len(pictures), self.dim), dtype=np.float32)
        for start in range(0, len(pictures), self._batch):
            part = slice(start, start + self._batch)
            [out[part]] = self._image.run(None, {"pixels": self._preprocess(pictures[part])})
        return out


def bucketed(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Indices in batches of at most `batch`, each from one length bucket and ordered by length."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    buckets = np.searchsorted(BUCKETS, [lengths[index] for index in order])
    start = 0
    while start < len(order):
        stop = start
        while stop < len(order) and stop - start < batch and buckets[stop] == buckets[start]:
            stop += 1
        yield order[start:stop]
        start = stop


def _session(path: Path, threads: int | None, providers: Sequence[str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's own errors share no public base class
        reason = str(error).splitlines()[0]
        raise CtgiError(
            f"{path}: ONNX Runtime cannot load it ({reason}); export the release again"
        ) from error
