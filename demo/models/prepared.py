"""The corpus as the vision tower takes it: 252x84 pixels, labels, and which parts cover each patch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from demo.models.architecture import GRID_H, GRID_W, HEIGHT, MERGE, PATCH, PATCHES, WIDTH
from demo.models.corpus import Chunk
from demo.models.fixed_grid import to_array
from demo.pedestrians.parts import PARTS


def coverage_of(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Parts (384, 128) to how many of each patch's 196 pixels each part covers, (108, parts), patch order."""
    small = np.asarray(Image.fromarray(parts).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    blocks = small.reshape(GRID_H // MERGE, MERGE, PATCH, GRID_W // MERGE, MERGE, PATCH)
    rows = blocks.transpose(0, 3, 1, 4, 2, 5).reshape(PATCHES, PATCH * PATCH)
    return np.stack([(rows == part).sum(1) for part in range(len(PARTS))], 1).astype(np.uint8)


def prepare(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.uint8]]:
    """Pixels, labels and coverage of one chunk, made once and kept beside it."""
    kept = path.with_name(path.name.replace("chunk-", "prepared-"))
    if not kept.exists():
        with np.load(path) as stored:
            chunk = Chunk(**{name: stored[name] for name in ("pictures", "parts", "labels", "identities")})
        pixels = np.stack([to_array(Image.fromarray(picture)) for picture in chunk.pictures])
        coverage = np.stack([coverage_of(parts) for parts in chunk.parts])
        temporary = kept.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez(temporary, pixels=pixels, labels=chunk.labels, coverage=coverage)
        os.replace(temporary, kept)
    with np.load(kept) as stored:
        return stored["pixels"], stored["labels"], stored["coverage"]


class Prepared:
    """All prepared chunks of a folder in memory; ``refresh`` takes in chunks that were rendered meanwhile."""

    def __init__(self, folder: Path, last: int | None = None) -> None:
        self.folder, self.last = folder, last
        self._chunks: list[tuple[Tensor, Tensor, Tensor]] = []
        self.refresh()

    def refresh(self, at_most: int = 4) -> None:
        paths = sorted(self.folder.glob("chunk-????.npz"))[: self.last]
        for path in paths[len(self._chunks) : len(self._chunks) + (at_most if self._chunks else 10_000)]:
            pixels, labels, coverage = prepare(path)
            self._chunks.append(
                (torch.from_numpy(pixels), torch.from_numpy(labels).long(), torch.from_numpy(coverage))
            )
        if not self._chunks:
            raise SystemExit(
                f"{self.folder}: no chunks; render them first: python -m demo.models.corpus {self.folder}"
            )

    def __len__(self) -> int:
        return sum(len(chunk[0]) for chunk in self._chunks)

    def labels(self) -> NDArray[np.int64]:
        """(N, attributes), as ``corpus.encode`` writes them."""
        return torch.cat([labels for _, labels, _ in self._chunks]).numpy()

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels uint8 (B, 252, 84, 3), labels int64 (B, attributes), coverage float32 (B, 108, parts)."""
        size = len(self._chunks[0][0])
        picked = [(self._chunks[row // size], row % size) for row in rows.tolist()]
        pixels = torch.stack([chunk[0][row] for chunk, row in picked])
        labels = torch.stack([chunk[1][row] for chunk, row in picked])
        coverage = torch.stack([chunk[2][row] for chunk, row in picked]).float() / (PATCH * PATCH)
        return pixels, labels, coverage
