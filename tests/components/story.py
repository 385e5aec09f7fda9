"""The steps from pictures to a gallery that serves, one after another, each as a process of its own.

What each leaves when nothing disturbs it is known, and so is what was there before it: a test can disturb one
step as it likes and compare.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.chat_server import ChatServer, Reply, answer, chat_server, completion, last_text
from tests.components.killing import End, Steps
from tests.pipelines.conftest import picture

TRAINING = {"epochs": 2, "batch-size": 4, "adam-eps": 1e-8, "device": "cpu", "checkpoint-steps": 1}
PICTURES, ROUNDS = 6, 1


def script(body: dict[str, Any], number: int) -> Reply:
    """An interview's answers; each picture has a description, and each interview a caption, of its own."""
    text = last_text(body)
    number_of = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:8]
    if '"pairs"' in text:
        return Reply(completion(f"A woman with the number {number_of}."))
    if "Describe" in text:
        return Reply(completion(f"A woman in a red jacket with the number {number_of}."))
    return answer(body)


@dataclass
class World:
    """One folder with all that the steps know, brought back to what it was before each trial."""

    place: Path
    snapshots: Path
    steps: Steps
    server: ChatServer
    given: dict[str, str]
    environment: dict[str, str]
    moments: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, Any] = field(default_factory=dict)

    def words(self, step: str) -> list[str]:
        flags = {name: value.format(**self.given) for name, value in STORY[step].flags.items()}
        words = [part for name, value in flags.items() for part in (f"--{name}", value)]
        return [*words, "--outputs", str(self.out(step))]

    def out(self, step: str) -> Path:
        return self.place / "out" / step

    def run(self, step: str, kill: int | None = None, late: float = 0.0) -> End:
        return self.steps.run(STORY[step].name, self.words(step), self.environment, kill=kill, late=late)

    def back_to_before(self, step: str) -> None:
        shutil.rmtree(self.place)
        shutil.copytree(self.snapshots / step, self.place)

    def said(self, step: str) -> Any:
        return json.loads((self.out(step) / "outputs.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Step:
    """A step of the story: its flags, what of its outcome has to be the same, how often it is killed."""

    name: str
    flags: dict[str, str]
    outcome: Callable[[World, Path], Any]
    trials: int = 4


def rows(world: World, out: Path) -> Any:
    """The captions and all that is kept with them, but for how long the interviews took."""
    import pyarrow.parquet as pq

    return pq.read_table(out / "captions").drop_columns(["seconds"]).to_pylist()


def told(*names: str) -> Callable[[World, Path], Any]:
    """Of what the step said: all parameters, and these artifacts' figures."""

    def outcome(world: World, out: Path) -> Any:
        said = json.loads((out / "outputs.json").read_text(encoding="utf-8"))
        return said["parameters"], {name: said["metadata"][name] for name in names}

    return outcome


def weights(world: World, out: Path) -> Any:
    """The checkpoint, and that every epoch and step of the run is on record once."""
    from safetensors import safe_open

    from ctgi.storage.opening import open_store

    work = open_store(world.given["work"])
    files = {entry.key.rpartition("/")[2]: entry.key for entry in work.list("train/")}
    lines, steps = (
        [json.loads(line) for line in work.read(files[name]).splitlines()]
        for name in ("log.jsonl", "steps.jsonl")
    )
    counted = Counter((step["epoch"], step["step"]) for step in steps)
    assert [line["epoch"] for line in lines] == [1, 2] and set(counted.values()) == {1}
    with safe_open(out / "checkpoint" / "model.safetensors", framework="np") as file:
        return file.metadata(), {key: file.get_tensor(key).tobytes() for key in file.keys()}, len(steps)


def arrays(world: World, out: Path) -> Any:
    found = {}
    for file in sorted((out / "evaluation").glob("*.npz")):
        with np.load(file) as table:
            found[file.name] = {name: table[name].tolist() for name in table.files}
    return found


def release(world: World, out: Path) -> Any:
    from ctgi.export.release import Release

    return Release.load(out / "exported").fingerprint


def published(world: World, out: Path) -> Any:
    """One version, whole, and the same files when it is fetched."""
    from ctgi.storage.fetch import fetch
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import verify, versions

    store = open_store(world.given["store"])
    [manifest] = versions(store, "ctgi")
    assert list(verify(store, manifest)) == []
    folder = world.place / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    fetch(store, "ctgi", "latest", folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return manifest.version, manifest.content, files


def pinned(world: World, out: Path) -> Any:
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import pins

    return pins(open_store(world.given["store"]), "ctgi")


def gallery_in(folder: Path) -> Any:
    """Vectors, what is kept beside them, and what each picture answered."""
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.dossier_store import DOSSIERS, DossierStore

    gallery = Gallery.open(folder, None)
    ids = sorted(gallery.ids)
    with DossierStore(folder / DOSSIERS, must_exist=True) as store:
        dossiers = store.read()
    asked = dossiers.take(dossiers.rows(ids))
    answers = [table.tolist() for table in asked.probability], asked.model, asked.said
    return ids, gallery.vectors(ids).tolist(), gallery.payloads(ids), answers, len(dossiers)


def shard(world: World, out: Path) -> Any:
    return gallery_in(out / "embedded")


def gallery(world: World, out: Path) -> Any:
    [folder] = (world.place / "gallery").iterdir()
    return gallery_in(folder)


WORK = {"work": "{work}"}
PHOTOS = {"pictures": "{place}/photos", **WORK}
SHARD = {"shard": "00-of-01", "digest": "{digest}"}
CHAT = {"server": "{server}", "concurrency": "2"}
OUT = "{place}/out"
SET = {"data": "{data}", "layout": "rstpreid"}
STORE = {"store": "{store}", "release": "ctgi"}
SERVED = {**STORE, "version": "1", "fingerprint": "{fingerprint}"}
STORY = {
    "plan": Step("plan_shards", PHOTOS, told()),
    "caption": Step(
        "caption_shard", {**SHARD, **PHOTOS, **CHAT, "model": "m", "rounds": str(ROUNDS)}, rows
    ),
    "reconstruct": Step(
        "reconstruct_shard",
        {"shard": "00-of-01", "interviews": f"{OUT}/caption/captions", **WORK, **CHAT, "model": "w"},
        rows,
    ),
    "merge": Step("merge_captions", {"shards": f"{OUT}/reconstruct/captions"}, told("metrics")),
    "train": Step(
        "train",
        {
            "captions": f"{OUT}/merge/captions", "digest": "{captions}", **PHOTOS, "encoder": "{clip}",
            "encoder-digest": "e", **SET, "data-digest": "d", "settings": "{training}",
        },
        weights,
        trials=3,
    ),
    "evaluate": Step(
        "evaluate",
        {"checkpoint": f"{OUT}/train/checkpoint", "captions": f"{OUT}/merge/captions", **PHOTOS, **SET},
        arrays,
        trials=1,
    ),
    "gate": Step("gate", {"evaluation": f"{OUT}/evaluate/evaluation"}, told("metrics")),
    "export": Step("export", {"checkpoint": f"{OUT}/train/checkpoint", **SET}, release, trials=1),
    "verify": Step(
        "verify_parity",
        {
            "checkpoint": f"{OUT}/train/checkpoint", "exported": f"{OUT}/export/exported",
            "captions": f"{OUT}/merge/captions",
        },
        told("metrics"),
        trials=1,
    ),
    "publish": Step(
        "publish",
        {
            "exported": f"{OUT}/export/exported", "parity": f"{OUT}/verify/metrics",
            "evaluation": f"{OUT}/evaluate/evaluation", **STORE,
        },
        published,
    ),
    "embed": Step("embed_shard", {**SHARD, **PHOTOS, **SERVED, **CHAT, "model": "m"}, shard, trials=3),
    "index": Step(
        "build_index",
        {
            "embedded": f"{OUT}/embed/embedded", "gallery": "{place}/gallery", "fingerprint": "{fingerprint}",
            "listing": "{listing}", **PHOTOS,
        },
        gallery,
    ),
    "promote": Step("promote", {**SERVED, "gallery": "{place}/gallery"}, pinned),
}  # fmt: skip


@contextmanager
def told_in_peace(root: Path, dataset: Path, clip: Path) -> Iterator[World]:
    """All steps in their order, each in peace: what it leaves, in how many moments, what was before it."""
    place = root / "place"
    for number in range(PICTURES):
        picture(place / "photos" / f"{number}.png", (40 * number, 90, 200), number)
    (root / "scratch").mkdir()
    given = {
        "place": str(place), "data": str(dataset), "clip": str(clip), "training": json.dumps(TRAINING),
        "store": str(place / "store"), "work": str(place / "work"),
    }  # fmt: skip
    steps = Steps(place, root / "scratch")
    with chat_server(script) as server:
        world = World(
            place, root / "snapshots", steps, server, {**given, "server": server.url},
            {"TMPDIR": str(root / "scratch")},
        )  # fmt: skip
        try:
            for name in STORY:
                shutil.copytree(place, world.snapshots / name)
                end = world.run(name)
                assert end.code == 0, end.said
                world.moments[name] = end.moments
                world.outcomes[name] = STORY[name].outcome(world, world.out(name))
                said = world.said(name)["parameters"]
                if name == "plan":
                    world.given |= {"digest": said["Output"][0]["digest"], "listing": said["listing"]}
                elif name == "merge":
                    world.given["captions"] = said["digest"]
                elif name == "publish":
                    world.given["fingerprint"] = said["fingerprint"]
            yield world
        finally:
            steps.close()
