"""Batches for training against PIL and torchvision the naive way: IRRA's transforms, picture by picture.

Both read the same JPEG files, augment in the same way (mirror, pad, crop, erase) and give float tensors of
384x128 in batches of 64. The plain way is what IRRA's code does (github.com/anosorae/IRRA,
datasets/build.py), in the training process, and once more with torch's DataLoader and a worker process a
core.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Ratio

BATCH = 64
SIZES = ((60, 160), (100, 250), (150, 380))
"""Width and height of the pictures, as crops of people from surveillance cameras are."""


def measure(out: Path) -> list[Ratio]:
    """Seconds for 1,000 pictures: from memory, from a mapped file, decoded as read, and from shards."""
    import torch

    from ctgi.datasets.annotations import Sample
    from ctgi.datasets.pictures import read_picture
    from ctgi.datasets.shards import read_shards, write_shards
    from ctgi.training.loader import load_pairs
    from ctgi.training.pictures import Streamed, cores

    count = int(os.environ.get("CTGI_BENCH_LOADER_PICTURES", "1024"))
    torch.set_num_threads(1)  # for both: on a busy machine, threads that wait for each other cost more
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = [Sample(path, n, ("a person",)) for n, path in enumerate(_pictures(folder, count))]
        write_shards(samples, folder / "shards")
        shards = read_shards(folder / "shards")
        # Each way twice, in turns; the better one counts, for both sides.
        start = time.perf_counter()
        kept = load_pairs(samples, 77, 8.0, folder / "train")
        first = time.perf_counter() - start
        sources = {
            "in memory": kept,
            "in a mapped file": load_pairs(samples, 77, 0.0, folder / "train"),
            "decoded as read": _with(kept, Streamed(samples, read_picture)),
            "decoded from shards": _with(kept, Streamed(shards.samples, shards.read)),
        }
        plain, workers, ours = [], [], {name: [] for name in sources}  # type: ignore[var-annotated]
        for _ in range(2):
            plain.append(_seconds(_naive(samples, 0), count))
            workers.append(_seconds(_naive(samples, cores()), count))
            for source, pairs in sources.items():
                ours[source].append(_seconds(_ours(pairs), count))
    facts = {"pictures": count, "cores": cores(), "decoding_all_s_per_1000": first / count * 1000}
    return [
        Ratio(f"loader, {source}, against {against} (s a 1,000)", min(times), min(slow), facts=facts)
        for source, times in ours.items()
        for against, slow in (("PIL + torchvision", plain), (f"the same in {cores()} workers", workers))
    ]


def _with(pairs, pictures):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(pairs, pictures=pictures)


def _ours(pairs):  # type: ignore[no-untyped-def]
    import torch

    from ctgi.training.config import TrainConfig
    from ctgi.training.loader import Loader
    from ctgi.training.samplers import epoch_batches

    batches = epoch_batches(TrainConfig(batch_size=BATCH), pairs, 0)
    loader = Loader(pairs, batches, seed=1, epoch=0, first=0, augment=True, device=torch.device("cpu"))
    return (batch.pixels for batch in loader)


def _naive(samples, workers: int):  # type: ignore[no-untyped-def]
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from ctgi.encoders.pixels import MEAN, STD

    transform = transforms.Compose(
        [
            transforms.Resize((384, 128)),
            transforms.RandomHorizontalFlip(0.5),
            transforms.Pad(10),
            transforms.RandomCrop((384, 128)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            transforms.RandomErasing(scale=(0.02, 0.4), value=MEAN),
        ]
    )

    class Naive(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, row: int):  # type: ignore[no-untyped-def]
            return transform(Image.open(samples[row].picture).convert("RGB"))

    return DataLoader(Naive(), batch_size=BATCH, shuffle=True, num_workers=workers)


def _seconds(batches: Iterable, count: int) -> float:  # type: ignore[type-arg]
    start, seen = time.perf_counter(), 0
    for pixels in batches:
        assert pixels.shape[1:] == (3, 384, 128)
        seen += len(pixels)
    assert seen == count
    return (time.perf_counter() - start) / count * 1000


def _pictures(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (24, 9, 3), np.uint8))
        paths.append(folder / f"{number:05d}.jpg")
        small.resize(SIZES[number % 3], Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths
