"""A whole rendered world: pictures of people by several cameras, annotations, and the truth kept apart.

    ROOT/imgs/0001_c5_0025.jpg      identity, camera and frame; nothing else, in name, metadata or pixels
    ROOT/data_captions.json ...     annotation layouts, with human-style text
    ROOT/truth/truth.json           what everyone looks like and what every picture shows
    ROOT/truth/queries.json         kind, and wrong detail, of every query among the val and test captions

What is under ``truth`` is for training the small models and for measuring, and for nothing else. A picture
depends on the seed, its split and its number within the split: not on the number of workers, nor on how
many others there are. Every person is written once and for all; interrupted, a run goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.pedestrians.attributes import Person, sample_person
from demo.pedestrians.camera import View, sample_view
from demo.pedestrians.descriptions import describe
from demo.pedestrians.layouts import ANNOTATION_FILES, PICTURE_FOLDER, SPLITS, Record, write_layout
from demo.pedestrians.queries import Query, seen_by_cameras, write_queries
from demo.pedestrians.render import render

CAMERAS = 15
JPEG_QUALITY = 94
CAPTIONS_PER_PICTURE = 2
#: Part of every world's truth: a world drawn under another number is not continued.
WORLD_VERSION = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PictureTruth:
    """What one picture shows: ``visible`` is attribute -> value, "cannot tell" or None."""

    path: str
    identity: int
    split: str
    camera: int
    view: str
    visible: dict[str, str | None]


@dataclass(frozen=True)
class World:
    """The truth of a rendered world. ``people``: identity -> its attributes. ``pictures``: in file order."""

    root: Path
    seed: int
    people: dict[int, dict[str, str]]
    pictures: tuple[PictureTruth, ...]
    queries: tuple[Query, ...]

    def picture_path(self, picture: PictureTruth) -> Path:
        return self.root / PICTURE_FOLDER / picture.path

    def of_split(self, split: str) -> list[PictureTruth]:
        return [picture for picture in self.pictures if picture.split == split]


@dataclass(frozen=True)
class _Task:
    root: str
    seed: int
    split: str
    number: int  # within the split
    identity: int
    pictures: int


def make_world(
    root: Path | str,
    seed: int = 0,
    identities: Mapping[str, int] | None = None,
    pictures: int = 4,
    workers: int = 2,
    progress: Progress | None = None,
    layouts: Sequence[str] = tuple(ANNOTATION_FILES),
) -> World:
    """Render a world under ``root``, or finish one begun there; a finished one is only read.

    ``identities``: people per split (default 200 train, 20 val, 50 test). ``pictures``: of each person,
    1 to 15, each by another camera. ``progress`` is called with (pictures done, pictures in all).
    Raises ValueError if ``root`` holds a world of another make, or for numbers that make no world.
    """
    root = Path(root)
    counts = {"train": 200, "val": 20, "test": 50} if identities is None else dict(identities)
    if (
        not set(counts) <= set(SPLITS)
        or any(count < 0 for count in counts.values())
        or not sum(counts.values())
    ):
        raise ValueError(f"people per split must be counts for {', '.join(SPLITS)}, not {counts}")
    if not 1 <= pictures <= CAMERAS:
        raise ValueError(f"pictures of a person must be 1 to {CAMERAS}, one a camera, not {pictures}")
    counts = {split: counts.get(split, 0) for split in SPLITS}
    make = {"version": WORLD_VERSION, "seed": seed, "identities": counts, "pictures": pictures}
    _claim(root, make)
    if not (root / "truth" / "truth.json").exists():
        _render_people(root, seed, counts, pictures, workers, progress)
        _assemble(root, make, counts)
    world = read_world(root)
    for layout in layouts:
        if not (root / ANNOTATION_FILES[layout]).exists():
            write_layout(root, layout, _records(world))
    return world


def read_world(root: Path | str) -> World:
    """Read the truth of a finished world. Raises FileNotFoundError if there is none under ``root``."""
    root = Path(root)
    truth = json.loads((root / "truth" / "truth.json").read_text(encoding="utf-8"))
    queries = json.loads((root / "truth" / "queries.json").read_text(encoding="utf-8"))
    return World(
        root=root,
        seed=truth["make"]["seed"],
        people={person["identity"]: person["attributes"] for person in truth["people"]},
        pictures=tuple(PictureTruth(**picture) for picture in truth["pictures"]),
        queries=tuple(Query(**query) for query in queries),
    )


def person_of(seed: int, split: str, number: int) -> Person:
    """The ``number``-th person of ``split`` in the world of ``seed``."""
    return sample_person(np.random.default_rng([seed, 1, SPLITS.index(split), number]))


def views_of(seed: int, split: str, number: int, count: int) -> list[tuple[int, int, View]]:
    """(camera, frame, view) of each picture of a person: different cameras, and one that sees the face."""
    rng = np.random.default_rng([seed, 2, SPLITS.index(split), number])
    cameras = 1 + rng.permutation(CAMERAS)[:count]
    frames = rng.integers(0, 10_000, count)
    facing = int(rng.integers(count))
    names = [("front", "three-quarter")[int(rng.integers(2))] if i == facing else None for i in range(count)]
    return [
        (int(camera), int(frame), sample_view(rng, name))
        for camera, frame, name in zip(cameras, frames, names, strict=True)
    ]


def _claim(root: Path, make: Mapping[str, Any]) -> None:
    """Say whose folder this is, or see that it is ours."""
    path = root / "truth" / "make.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != make:
            raise ValueError(f"{root} holds another world ({found}); remove it or choose another folder")
        return
    (root / PICTURE_FOLDER).mkdir(parents=True, exist_ok=True)
    _write_json(path, make)


def _render_people(
    root: Path, seed: int, counts: Mapping[str, int], pictures: int, workers: int, progress: Progress | None
) -> None:
    for folder in (root / PICTURE_FOLDER, _part(root, 0).parent):
        for draft in folder.glob(".*"):  # left by a run that was killed while writing
            draft.unlink()
    splits = [(split, number) for split in SPLITS for number in range(counts[split])]
    tasks = [
        _Task(str(root), seed, split, number, identity, pictures)
        for identity, (split, number) in enumerate(splits)
        if not _part(root, identity).exists()
    ]
    done, total = (len(splits) - len(tasks)) * pictures, len(splits) * pictures
    if progress:
        progress(done, total)
    for written in _map(tasks, workers):
        done += written
        if progress:
            progress(done, total)


def _map(tasks: Sequence[_Task], workers: int) -> Iterator[int]:
    if workers <= 1 or len(tasks) < 2:
        yield from map(_render_person, tasks)
        return
    # Spawned, not forked: whoever calls may have threads (torch, faiss) that a fork would break.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=spawn) as pool:
        yield from pool.map(_render_person, tasks, chunksize=max(1, min(8, len(tasks) // (4 * workers))))


def _render_person(task: _Task) -> int:
    """Write the pictures of one person and, last, their truth; returns the number of pictures."""
    root = Path(task.root)
    person = person_of(task.seed, task.split, task.number)
    rows = []
    for camera, frame, view in views_of(task.seed, task.split, task.number, task.pictures):
        pixels, visible = render(person, view)
        name = f"{task.identity + 1:04d}_c{camera}_{frame:04d}.jpg"
        _write(root / PICTURE_FOLDER / name, jpeg(pixels))
        row = {"path": name, "identity": task.identity, "split": task.split}
        rows.append({**row, "camera": camera, "view": view.name, "visible": visible})
    _write_json(_part(root, task.identity), {"attributes": person.attributes, "pictures": rows})
    return len(rows)


def jpeg(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as JPEG, without metadata."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _assemble(root: Path, make: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Gather the parts into queries.json and truth.json; the latter, written last, marks the end."""
    splits = [split for split in SPLITS for _ in range(counts[split])]
    parts = [json.loads(_part(root, identity).read_text(encoding="utf-8")) for identity in range(len(splits))]
    people = [
        {"identity": identity, "split": split, "attributes": part["attributes"]}
        for identity, (split, part) in enumerate(zip(splits, parts, strict=True))
    ]
    truths = {
        identity: seen_by_cameras(picture["visible"] for picture in part["pictures"])
        for identity, (split, part) in enumerate(zip(splits, parts, strict=True))
        if split != "train"
    }
    queries = write_queries(truths, int(make["seed"]), CAPTIONS_PER_PICTURE * int(make["pictures"]))
    _write_json(root / "truth" / "queries.json", [vars(query) for query in queries])
    pictures = [picture for part in parts for picture in part["pictures"]]
    _write_json(root / "truth" / "truth.json", {"make": make, "people": people, "pictures": pictures})


def _records(world: World) -> list[Record]:
    """Two texts a picture: descriptions of the picture in train, the identity's queries in val and test."""
    texts: dict[int, list[str]] = {}
    for query in world.queries:
        texts.setdefault(query.identity, []).append(query.text)
    records = []
    for picture in world.pictures:
        if picture.split == "train":
            rng = np.random.default_rng([world.seed, 3, picture.identity, picture.camera])
            captions = [
                describe(picture.visible, rng, int(rng.integers(4, 10)), 0.4).text
                for _ in range(CAPTIONS_PER_PICTURE)
            ]
        else:
            captions = [texts[picture.identity].pop(0) for _ in range(CAPTIONS_PER_PICTURE)]
        records.append(Record(picture.path, picture.identity, picture.split, tuple(captions)))
    return records


def _part(root: Path, identity: int) -> Path:
    return root / "truth" / "people" / f"{identity:06d}.json"


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    os.replace(draft, path)
