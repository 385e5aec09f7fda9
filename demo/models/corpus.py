"""Pre-rendered pictures with their visible truth, on which the small models are trained.

``python -m demo.models.corpus OUT --pictures 30000`` writes chunks of 1,000 pictures (500 people, two views
each) and continues where an earlier run stopped. A chunk's content depends on the seed and its number only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.pedestrians.attributes import ATTRIBUTES, sample_person
from demo.pedestrians.camera import sample_view
from demo.pedestrians.render import render_parts
from demo.pedestrians.visibility import CANNOT_TELL

CHUNK = 1000
_VIEWS_EACH = 2
NOT_ASKED = -1


@dataclass(frozen=True)
class Chunk:
    """``pictures`` uint8 (N, 384, 128, 3); ``parts`` uint8 (N, 384, 128), index into ``PARTS``;
    ``labels`` int8 (N, attributes): the value's index, the number of values for "cannot tell", -1 for None;
    ``identities`` int64 (N,).
    """

    pictures: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    labels: NDArray[np.int8]
    identities: NDArray[np.int64]


def encode(visible: dict[str, str | None]) -> list[int]:
    """The visible truth of a picture as one integer per attribute."""
    row = []
    for name, values in ATTRIBUTES.items():
        value = visible[name]
        row.append(
            NOT_ASKED if value is None else len(values) if value == CANNOT_TELL else values.index(value)
        )
    return row


def decode(row: NDArray[np.int8]) -> dict[str, str | None]:
    """The inverse of ``encode``."""
    visible: dict[str, str | None] = {}
    for (name, values), index in zip(ATTRIBUTES.items(), row.tolist(), strict=True):
        visible[name] = None if index == NOT_ASKED else CANNOT_TELL if index == len(values) else values[index]
    return visible


def render_chunk(seed: int, number: int) -> Chunk:
    rng = np.random.default_rng([seed, number])
    pictures, parts, labels, identities = [], [], [], []
    for index in range(CHUNK // _VIEWS_EACH):
        person = sample_person(rng)
        for _ in range(_VIEWS_EACH):
            picture, visible, part = render_parts(person, sample_view(rng))
            pictures.append(picture)
            parts.append(part)
            labels.append(encode(visible))
            identities.append(number * CHUNK + index)
    return Chunk(
        np.stack(pictures), np.stack(parts), np.array(labels, np.int8), np.array(identities, np.int64)
    )


def _write(job: tuple[Path, int, int]) -> Path:
    folder, seed, number = job
    path = folder / f"chunk-{number:04d}.npz"
    if not path.exists():
        chunk = render_chunk(seed, number)
        temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez(temporary, **vars(chunk))
        os.replace(temporary, path)
    return path


def read(folder: Path, first: int = 0, last: int | None = None) -> Iterator[Chunk]:
    """Chunks ``first`` to ``last`` (not included) that exist."""
    for path in sorted(folder.glob("chunk-????.npz"))[first:last]:
        with np.load(path) as stored:
            yield Chunk(**{name: stored[name] for name in ("pictures", "parts", "labels", "identities")})


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the pictures that the small models are trained on.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument(
        "--seed", type=int, default=20_000, help="training corpora and test sets use different seeds"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    jobs = [(given.out, given.seed, number) for number in range(-(-given.pictures // CHUNK))]
    with Pool(given.workers) as pool:
        for done, path in enumerate(pool.imap_unordered(_write, jobs), 1):
            print(f"{done}/{len(jobs)} {path.name}", flush=True)


if __name__ == "__main__":
    main()
