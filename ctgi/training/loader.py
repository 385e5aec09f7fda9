"""Picture-caption pairs, and batches of them that depend on (seed, epoch, step) and nothing else.

Since every chance comes from a generator seeded by those three numbers, a resumed run needs no stored
generator state and no replay: batch 17 of epoch 3 is the same whoever asks for it. Several processes draw for
the whole batch and keep their share, so they see what one process would.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.pixels import HEIGHT, WIDTH
from ctgi.encoders.tokens import tokenize
from ctgi.errors import CtgiError
from ctgi.training.augment import Plan, draw_plan, finished, moved, no_plan
from ctgi.training.distributed import rank, world
from ctgi.training.pictures import Pictures, Read, open_pictures
from ctgi.training.samplers import Indices, share

AHEAD = 3
"""Batches prepared while one is in use."""


@dataclass(frozen=True)
class Pairs:
    """Every caption of every picture with it. P pictures, N pairs.

    pictures: P pictures by row; owner int64 (P,) identities; picture int64 (N,) rows of pictures;
    ids int32 (N, L) tokens; length int64 (N,) tokens before padding; trust float32 (N,) in the pair;
    shard int64 (P,) the shard, or folder, that each picture lies in.
    """

    pictures: Pictures
    owner: Tensor
    picture: Tensor
    ids: Tensor
    length: Tensor
    trust: Tensor
    shard: Indices

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def identity(self) -> Tensor:
        """int64 (N,): whom each pair is about."""
        return self.owner[self.picture]

    def tokens(self, rows: Tensor) -> Tensor:
        """int64 (len(rows), longest of them): their captions."""
        return self.ids[rows, : int(self.length[rows].max())].long()


@dataclass(frozen=True)
class Batch:
    """B pairs on the training device, this process's share of a batch.

    pixels float32 (B, 3, 384, 128), normalised; ids int64 (B, longest caption of the whole batch); identity
    int64 (B,), 0 to n - 1 without gaps; `pair` int64 (B,), each pair's number in the training set; weight
    float32 (B,), how far this pair is trusted, 1 unless somebody said otherwise.
    """

    pixels: Tensor
    ids: Tensor
    identity: Tensor
    pair: Tensor
    weight: Tensor


def load_pairs(
    samples: Sequence[Sample],
    context: int,
    cache_gb: float,
    spill: Path,
    *,
    read: Read = read_picture,
    trust: Sequence[float] | None = None,
) -> Pairs:
    """Open the pictures (see `open_pictures` for `cache_gb` and `spill`) and tokenize every caption.

    `trust` has a number from 0 for every caption, in order. Raises CtgiError when there is no sample, a
    sample has no caption or a blank one, or a picture is bad.
    """
    if not samples:
        raise CtgiError("the caption set is empty: no picture with a caption to train or validate on")
    for sample in samples:
        if not sample.captions or not all(caption.strip() for caption in sample.captions):
            raise CtgiError(f"{sample.picture}: has no caption or a blank one; caption it or leave it out")
    ids = tokenize([caption for sample in samples for caption in sample.captions], context)
    counts = torch.tensor([len(sample.captions) for sample in samples])
    return Pairs(
        pictures=open_pictures(samples, cache_gb, spill, read),
        owner=torch.tensor([sample.identity for sample in samples]),
        picture=torch.arange(len(samples)).repeat_interleave(counts),
        # The end token is the largest id, so its first place is the caption's length less one. Padding cannot
        # be counted instead: its id, 0, is also that of an exclamation mark.
        length=ids.argmax(dim=1) + 1,
        ids=ids.int(),
        trust=torch.ones(len(ids)) if trust is None else torch.tensor(trust, dtype=torch.float32),
        shard=np.unique([str(s.picture.parent) for s in samples], return_inverse=True)[1],
    )


class Loader:
    """Iterates over this process's share of an epoch's batches from number `first` on.

    Batches are prepared on threads while others are in use; `waited` is the time in seconds that the
    training loop had to wait for them.
    """

    def __init__(
        self,
        pairs: Pairs,
        epoch_batches: Sequence[Indices],
        *,
        seed: int,
        epoch: int,
        first: int,
        augment: bool,
        device: torch.device,
    ) -> None:
        self.waited = 0.0
        self._pairs, self._batches, self._first = pairs, epoch_batches, first
        self._seed, self._epoch, self._augment, self._device = seed, epoch, augment, device
        self._rank, self._world = rank(), world()

    def __iter__(self) -> Iterator[Batch]:
        ready: deque[Future[tuple[Tensor, Plan]]] = deque()
        steps = range(self._first, len(self._batches))
        pool = ThreadPoolExecutor(max_workers=2)
        try:
            for step in steps:
                for later in range(step + len(ready), min(step + AHEAD, steps.stop)):
                    ready.append(pool.submit(self._prepare, later))
                start = time.perf_counter()
                pixels, plan = ready.popleft().result()
                self.waited += time.perf_counter() - start
                yield self._batch(step, pixels, plan)
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, step: int) -> tuple[Tensor, Plan]:
        """Pixels uint8 of the own share, moved, and what is still to be done to them."""
        batch = self._batches[step]
        own = share(batch, self._rank, self._world)
        pixels = self._pairs.pictures.rows(self._pairs.picture[batch[own]].numpy())
        if self._augment:
            chance = np.random.default_rng([self._seed, self._epoch, 1 + step])
            plan = draw_plan(len(batch), HEIGHT, WIDTH, chance).part(own)
            pixels = moved(pixels, plan)
        else:
            plan = no_plan(len(pixels))
        tensor = torch.from_numpy(pixels)
        return (tensor.pin_memory() if self._device.type == "cuda" else tensor), plan

    def _batch(self, step: int, pixels: Tensor, plan: Plan) -> Batch:
        pairs, device, batch = self._pairs, self._device, torch.from_numpy(self._batches[step])
        own = share(self._batches[step], self._rank, self._world)
        pair = batch[own]
        return Batch(
            pixels=finished(pixels.to(device, non_blocking=True), plan),
            ids=pairs.tokens(batch)[own].to(device),
            identity=pairs.identity[pair].to(device),
            pair=pair.to(device),
            weight=pairs.trust[pair].to(device),
        )
