"""Picture-caption pairs in memory, and batches of them that depend on (seed, epoch, step) and nothing else.

Since every chance comes from a generator seeded by those three numbers, a resumed run needs no stored
generator state and no replay: batch 17 of epoch 3 is the same whoever asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.pixels import HEIGHT, WIDTH, resized
from ctgi.encoders.tokens import tokenize
from ctgi.errors import CtgiError
from ctgi.training.augment import Plan, draw_plan, finished, moved, no_plan

PICTURE_BYTES = 3 * HEIGHT * WIDTH


@dataclass(frozen=True)
class Pairs:
    """Every caption of every picture with it. P pictures, N pairs.

    pixels uint8 (P, 3, 384, 128); owner int64 (P,) identities; picture int64 (N,) rows of pixels;
    ids int64 (N, L) tokens; length int64 (N,) tokens before padding.
    """

    pixels: NDArray[np.uint8]
    owner: Tensor
    picture: Tensor
    ids: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def identity(self) -> Tensor:
        """int64 (N,): whom each pair is about."""
        return self.owner[self.picture]


@dataclass(frozen=True)
class Batch:
    """B pairs on the training device: pixels float32 (B, 3, 384, 128), ids int64 (B, longest caption),
    identity int64 (B,), and `pair` int64 (B,), each pair's number in the training set."""

    pixels: Tensor
    ids: Tensor
    identity: Tensor
    pair: Tensor


def load_pairs(samples: Sequence[Sample], context: int, cache_gb: float, spill: Path) -> Pairs:
    """Decode every picture once, to 384x128, and tokenize every caption.

    Beyond `cache_gb` gigabytes the pixels go to the file `spill`, mapped into memory.
    Raises CtgiError when there is no sample, a sample has no caption or a blank one, or a picture is bad.
    """
    if not samples:
        raise CtgiError("the caption set is empty: no picture with a caption to train or validate on")
    for sample in samples:
        if not sample.captions or not all(caption.strip() for caption in sample.captions):
            raise CtgiError(f"{sample.picture}: has no caption or a blank one; caption it or leave it out")
    pixels = _storage(len(samples), cache_gb, spill)

    def decode(row: int) -> None:
        pixels[row] = resized(read_picture(samples[row].picture))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(samples))):
            pass
    ids = tokenize([caption for sample in samples for caption in sample.captions], context)
    counts = torch.tensor([len(sample.captions) for sample in samples])
    return Pairs(
        pixels=pixels,
        owner=torch.tensor([sample.identity for sample in samples]),
        picture=torch.arange(len(samples)).repeat_interleave(counts),
        ids=ids,
        # The end token is the largest id, so its first place is the caption's length less one. Padding cannot
        # be counted instead: its id, 0, is also that of an exclamation mark.
        length=ids.argmax(dim=1) + 1,
    )


def batches(
    pairs: Pairs, *, seed: int, epoch: int, first: int, size: int, augment: bool, device: torch.device
) -> Iterator[Batch]:
    """The batches of one epoch from number `first` on, in a random order; the last may be smaller.

    The next batch's pixels are prepared on a thread while the current one is in use.
    """
    # Always three numbers: numpy fills a shorter seed up with zeros, so [s, e] would equal [s, e, 0].
    order = np.random.default_rng([seed, epoch, 0]).permutation(len(pairs))
    steps = range(first, step_count(len(pairs), size))

    def prepare(step: int) -> tuple[NDArray[np.int64], NDArray[np.uint8], Plan]:
        chosen = order[step * size : (step + 1) * size]
        pixels = pairs.pixels[pairs.picture[chosen].numpy()]
        if not augment:
            return chosen, pixels, no_plan(len(chosen))
        plan = draw_plan(len(chosen), HEIGHT, WIDTH, np.random.default_rng([seed, epoch, 1 + step]))
        return chosen, moved(pixels, plan), plan

    with ThreadPoolExecutor(max_workers=1) as ahead:
        waiting: Future[tuple[NDArray[np.int64], NDArray[np.uint8], Plan]] | None = None
        for step in steps:
            chosen, pixels, plan = waiting.result() if waiting else prepare(step)
            waiting = ahead.submit(prepare, step + 1) if step + 1 in steps else None
            pair = torch.from_numpy(chosen)
            yield Batch(
                pixels=finished(torch.from_numpy(pixels).to(device), plan),
                ids=pairs.ids[pair, : int(pairs.length[pair].max())].to(device),
                identity=pairs.identity[pair].to(device),
                pair=pair,
            )


def step_count(pairs: int, size: int) -> int:
    """Steps an epoch: every pair once, the last batch as small as it comes."""
    return -(-pairs // size)


def _storage(count: int, cache_gb: float, spill: Path) -> NDArray[np.uint8]:
    shape = (count, 3, HEIGHT, WIDTH)
    if count * PICTURE_BYTES <= cache_gb * 1e9:
        return np.empty(shape, np.uint8)
    spill.parent.mkdir(parents=True, exist_ok=True)
    return np.memmap(spill, np.uint8, "w+", shape=shape)
