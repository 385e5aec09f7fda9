"""Where a batch's pixels come from: decoded once and kept, in memory or in a mapped file, or decoded as read.

Decoding and resizing run on threads (Pillow lets go of the interpreter while it works).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.pixels import HEIGHT, WIDTH, resized
from ctgi.training.distributed import local_rank, wait, world

PICTURE_BYTES = 3 * HEIGHT * WIDTH
Read = Callable[[Path], Image]
"""Opens a sample's picture: from its path, or from a shard by the path in it."""


class Pictures(Protocol):
    """P pictures by row."""

    def __len__(self) -> int: ...

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A new array, uint8 (len(rows), 3, 384, 128). Raises CtgiError for a bad picture."""
        ...


class Kept:
    """All pictures decoded: an array uint8 (P, 3, 384, 128), in memory or mapped."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.asarray(self.pixels[rows])


class Streamed:
    """Pictures decoded whenever they are asked for, as many at once as there are cores."""

    def __init__(self, samples: Sequence[Sample], read: Read) -> None:
        self._paths = [sample.picture for sample in samples]
        self._read = read
        self._pool = ThreadPoolExecutor(max_workers=cores())

    def __len__(self) -> int:
        return len(self._paths)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        result = np.empty((len(rows), 3, HEIGHT, WIDTH), np.uint8)

        def decode(place: int) -> None:
            result[place] = resized(self._read(self._paths[rows[place]]))

        for _ in self._pool.map(decode, range(len(rows))):
            pass
        return result


def open_pictures(
    samples: Sequence[Sample], cache_gb: float, spill: Path, read: Read = read_picture
) -> Pictures:
    """The pictures of `samples`, kept where there is room: in memory up to `cache_gb` gigabytes, beyond it in
    a mapped file beside `spill`, and decoded as they are read where the disk has no room either.

    Processes of one machine share the mapped file: the first of them writes it, under a name that says what
    is in it, and a run that goes on finds it there.

    Raises CtgiError for a bad picture; of streamed pictures, only when they are read.
    """
    size = len(samples) * PICTURE_BYTES
    if size <= cache_gb * 1e9 and world() == 1:
        pixels = np.empty((len(samples), 3, HEIGHT, WIDTH), np.uint8)
        _decode_all(samples, read, pixels)
        return Kept(pixels)
    file = spill.with_name(f"{spill.name}-{_machine()}-{_digest(samples)}.pixels")
    if local_rank() == 0 and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        for stale in _mapped(spill):
            stale.unlink()
        if size < 0.9 * shutil.disk_usage(file.parent).free:
            _write(samples, read, file)
    wait()
    if not file.exists():
        return Streamed(samples, read)
    return Kept(np.memmap(file, np.uint8, "r", shape=(len(samples), 3, HEIGHT, WIDTH)))


def clear(*spills: Path) -> None:
    """Remove this machine's mapped files, when a run has no more use for them."""
    wait()
    if local_rank() == 0:
        for spill in spills:
            for file in _mapped(spill):
                file.unlink()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(samples: Sequence[Sample], read: Read, file: Path) -> None:
    # Under another name until it is whole: a file of the right name is a finished one.
    temporary = file.with_name(f"{file.name}.tmp")
    pixels = np.memmap(temporary, np.uint8, "w+", shape=(len(samples), 3, HEIGHT, WIDTH))
    _decode_all(samples, read, pixels)
    pixels.flush()
    os.replace(temporary, file)


def _decode_all(samples: Sequence[Sample], read: Read, pixels: NDArray[np.uint8]) -> None:
    def decode(row: int) -> None:
        pixels[row] = resized(read(samples[row].picture))

    with ThreadPoolExecutor(max_workers=cores()) as pool:
        try:
            for _ in pool.map(decode, range(len(samples))):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one bad picture is enough to know
            raise


def _mapped(spill: Path) -> list[Path]:
    return list(spill.parent.glob(f"{spill.name}-{_machine()}-*.pixels*"))


def _machine() -> str:
    """torchrun's number of this machine: each writes a file of its own, though the folder may be shared."""
    return os.environ.get("GROUP_RANK", "0")


def _digest(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        try:
            facts = os.stat(sample.picture)
            digest.update(f"{sample.picture} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        except OSError:  # inside a shard, or missing: the reader knows which
            digest.update(f"{sample.picture}\n".encode())
    return digest.hexdigest()[:12]
