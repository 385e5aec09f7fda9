"""Whole pipelines on this machine, each step a process, published to a real S3 server."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctgi.gallery.index import Gallery
from tests.chat_server import ChatServer, Reply, answer, chat_server
from tests.pipelines.conftest import picture

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"epochs": 1, "batch-size": 4, "base-lr": 1e-4, "adam-eps": 1e-8, "device": "cpu"}


class World:
    """Where a test's pipelines work, and how they are called."""

    def __init__(self, place: Path, s3: Any, dataset: Path, clip: Path, server: ChatServer) -> None:
        self.place, self.server = place, server
        self.store = s3.url("releases")
        self.environment = {**os.environ, **s3.environment(), "OMP_NUM_THREADS": "1"}
        self.pictures = place / "photos"
        for number in range(8):
            picture(self.pictures / f"{number}.png", (30 * number, 90, 200), number)
        self.shared = {"work": str(place / "work"), "store": self.store}
        self.training = {
            "pictures": str(self.pictures),
            "server": server.url,
            "model": "small",
            "encoder": str(clip),
            "data": str(dataset),
            "layout": "rstpreid",
            "rounds": 1,
            "per_shard": 4,
            "min_gain": -100,
            "training": json.dumps(TRAINING),
        }

    def words(self, pipeline: str, figures: Path, **values: Any) -> list[str]:
        words = [sys.executable, "-m", "ctgi", "pipeline", "run", pipeline, "--local"]
        words += ["--root", str(self.place / "root"), "--json", str(figures)]
        for name, value in {**self.shared, **values}.items():
            words += ["--set", f"{name}={value}"]
        return words

    def run(self, pipeline: str, *, ok: bool = True, **values: Any) -> dict[str, Any]:
        figures = self.place / "figures.json"
        done = subprocess.run(
            self.words(pipeline, figures, **values),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        said = done.stdout + done.stderr
        told: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
        log = Path(told["log"]).read_text(encoding="utf-8")
        assert (done.returncode == 0) == ok, f"{said}\n{log[-6000:]}"
        return {**told, "said": said}


@pytest.fixture
def world(tmp_path: Path, s3_server: Any, dataset: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    s3_server.into(monkeypatch)
    with chat_server() as server:
        yield World(tmp_path, s3_server, dataset, clip, server)


def test_pictures_to_a_published_release_killed_on_the_way(world: World, tmp_path: Path) -> None:
    from ctgi.export.lineage import chain, read_lineage
    from ctgi.storage.fetch import fetch
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import versions

    def slow(body: dict[str, Any], number: int) -> Reply:
        return Reply(answer(body).body, delay=0.1)

    world.server.script = slow
    process = subprocess.Popen(
        world.words("ctgi_train", tmp_path / "killed.json", **world.training),
        cwd=ROOT,
        env=world.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while len(world.server.answered) < 6 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    interrupted = len(world.server.answered)
    assert 6 <= interrupted < 17

    world.server.script = answer
    first = world.run("ctgi_train", **world.training)
    # 8 pictures with a description and an answer each. What was on its way when the kill came (8 requests at
    # a time in each of two steps) may have been asked once more; the preflights' calls are about no picture.
    counts = Counter(world.server.answered)
    preflights = max(counts.values())
    assert preflights == 4 and len(counts) == 17
    assert 16 <= sum(counts.values()) - preflights <= 32
    [published] = versions(open_store(world.store), "ctgi")
    assert published.facts["measured"]["R@1"] >= 0 and published.facts["parity"]["rank_agreement"] == 1.0

    asked = len(world.server.asked)
    second = world.run("ctgi_train", **world.training)
    # All but what looks at something that may have changed, and what is measured beside the release that
    # serves since the first run.
    reused = Counter(re.findall(r"s  ([a-z-]+) +reused$", second["said"], re.MULTILINE))
    assert reused == {
        "caption-shard": 2, "reconstruct-shard": 2, "merge-captions": 1, "train": 1, "export": 1,
        "verify-parity": 1,
    }  # fmt: skip
    assert second["steps"]["reused"] == 8 and second["steps"]["failed"] == 0
    assert first["steps"]["reused"] <= 2
    assert len(world.server.asked) - asked == 2 * 1  # what preflights ask, here and in the first step
    assert len(versions(open_store(world.store), "ctgi")) == 1  # the same release is published once

    fetched = fetch(open_store(world.store), "ctgi", "latest", tmp_path / "fetched").folder
    kinds = [record["kind"] for _, record in chain(read_lineage(fetched))]
    assert kinds == ["release", "checkpoint", "captions", "captions", "captions"]  # of all, and of two shards
    measured = [file.parent for file in (world.place / "root" / "outputs").rglob("evaluation/lineage.json")]
    assert len(measured) == 2  # what serves had changed
    for folder in measured:
        records = [record for _, record in chain(read_lineage(folder))]
        assert [record["kind"] for record in records] == ["evaluation", *kinds[1:]]
        assert records[0]["metrics"]["R@1"] >= 0
    states = [json.loads(file.read_text()) for file in (tmp_path / "work" / "runs").iterdir()]
    assert [state["state"] for state in states] == ["SUCCEEDED", "SUCCEEDED"]

    _people_see_charts_and_pictures(world)
    _gallery_is_incremental(world)
    _refresh_waits_until_enough_has_come(world)


def _people_see_charts_and_pictures(world: World) -> None:
    """The HTML artifacts of both runs: losses by epoch, the bars of each model, strips of pictures."""

    def pages(name: str) -> list[str]:
        files = (world.place / "root" / "outputs").rglob(name)
        return [file.read_text(encoding="utf-8") for file in sorted(files, key=lambda f: f.stat().st_mtime)]

    [curve] = pages("curve")
    assert curve.startswith("<!doctype html>") and "Training: best epoch 1 of 1" in curve
    assert curve.count("<svg") == 2 and curve.count("<circle") >= 5  # SDM, ID, MLM; R@1, R@5, R@10, mAP
    first, second = pages("bars")
    for page, models in (
        (first, ("before training", "trained")),
        (second, ("before training", "serving", "trained")),
    ):
        said = re.findall(r"<title>([a-z ]+), (\S+): ([\d.]+) \[", page)
        assert Counter(model for model, *_ in said) == dict.fromkeys(models, 5)
        assert all(0 <= float(value) <= 100 for *_, value in said) and "4 pictures of set, test" in page
    for page in pages("strips"):
        drawn = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)">', page)
        assert len(drawn) == 4 and all(alt.startswith("A person with number") for alt, _ in drawn)
        for _, png in drawn:
            with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
                assert min(picture.size) > 100


def _gallery_is_incremental(world: World) -> None:
    from ctgi.export.lineage import chain, read_lineage

    place = world.place / "galleries"
    given = {"pictures": world.pictures, "gallery": place, "per_shard": 4}
    world.run("ctgi_gallery", **given)
    [folder] = place.iterdir()
    before = Gallery.open(folder, None)
    assert len(before) == 8

    picture(world.pictures / "new.png", (1, 2, 3), 99)
    (world.pictures / "0.png").unlink()
    (world.pictures / "1.png").rename(world.pictures / "moved.png")
    picture(world.pictures / "2.png", (9, 9, 9), 98)
    told = world.run("ctgi_gallery", **given)
    after = Gallery.open(folder, None)
    paths = {payload["path"] for payload in after.payloads(after.ids)}
    assert paths == {"new.png", "moved.png", "2.png", *(f"{number}.png" for number in range(3, 8))}
    assert "3 added or moved, 2 removed, 8 held" in Path(told["log"]).read_text(encoding="utf-8")
    kinds = {record["kind"] for _, record in chain(read_lineage(folder))}
    assert kinds == {"gallery", "release", "checkpoint", "captions"}
    untouched = [key for key in before.ids if key in after]
    assert len(untouched) == 6
    assert (before.vectors(untouched) == after.vectors(untouched)).all()
    nothing = world.run("ctgi_gallery", **given)
    assert nothing["steps"]["failed"] == 0 and len(Gallery.open(folder, None)) == 8


def _refresh_waits_until_enough_has_come(world: World) -> None:
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import pins, versions

    store = open_store(world.store)
    given = {**world.training, "gallery": world.place / "galleries", "gallery_pictures": world.pictures}
    waits = world.run("ctgi_refresh", **given, threshold=3)  # two pictures are new, and captioned
    assert len(versions(store, "ctgi")) == 1 and not pins(store, "ctgi")
    assert waits["steps"]["failed"] == 0
    world.run("ctgi_refresh", **{**given, "min_gain": 100}, threshold=2)  # trained, and kept back by the gate
    assert len(versions(store, "ctgi")) == 1 and not pins(store, "ctgi")
    # A model that learnt from ten pictures may well be worse: here it is let through all the same.
    world.run("ctgi_refresh", **{**given, "min_gain": -100}, threshold=2)
    assert [version.version for version in versions(store, "ctgi")] == [1, 2]
    assert pins(store, "ctgi") == {"pinned": 2}
    assert len(list((world.place / "galleries").iterdir())) == 2


def test_a_poisoned_shard_fails_alone_and_names_itself(world: World) -> None:
    """The server refuses the pictures of one shard; the other shard's captions are kept for the next run."""
    from components import shards
    from components.workspace import Workspace

    work = Workspace(world.shared["work"])
    found = shards.find(str(world.pictures), "", "train", work).pictures
    items = shards.divide(found, 4, work)
    assert len(items) == 2
    poison = {p.path for p in shards.read_list(items[1]["digest"], work)}
    shown = {_shown(world.pictures / name) for name in poison}

    def script(body: dict[str, Any], number: int) -> Reply:
        if any(picture in json.dumps(body) for picture in shown):
            return Reply({"error": {"message": "no"}}, 400)
        return answer(body)

    world.server.script = script
    galleries = {"gallery": world.place / "galleries", "gallery_pictures": world.pictures}
    given = {**world.training, **galleries, "threshold": 999}  # captions alone: never enough to train
    told = world.run("ctgi_refresh", ok=False, **given)
    assert told["problems"] and all(items[1]["shard"] in line for line in told["problems"])
    assert told["steps"]["failed"] == 1
    state = json.loads(next((world.place / "work" / "runs").iterdir()).read_text(encoding="utf-8"))
    assert state["state"] == "FAILED"

    world.server.script = answer
    before = len(world.server.answered)
    done = world.run("ctgi_refresh", **given)
    assert done["steps"]["reused"] == 3  # both steps of the healthy shard, and the count of new pictures
    assert len(world.server.answered) - before == 2 + 2 * len(poison)


def _shown(path: Path) -> str:
    """What of a picture is in a request."""
    from ctgi.captioning.sent_picture import sent_picture

    return base64.b64encode(sent_picture(path.read_bytes(), str(path))).decode()


def test_one_run_at_a_time_in_a_folder(world: World) -> None:
    import fcntl

    root = world.place / "root"
    root.mkdir()
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            world.words("ctgi_train", world.place / "x.json", **world.training),
            cwd=ROOT,
            env=world.environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2 and "another run" in done.stderr


def test_the_preflight_stops_before_anything_is_spent(world: World) -> None:
    url = world.server.url
    world.server.close()
    done = subprocess.run(
        world.words("ctgi_train", world.place / "x.json", **{**world.training, "server": url}),
        cwd=ROOT,
        env={**world.environment, "CTGI_S3_SECRET_KEY": "wrong"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not (world.place / "root" / "outputs").exists()
    last = done.stderr.strip().splitlines()[-1]
    assert "nothing was spent" in last and "store" in last and "model small" in last
    assert "wrong" not in done.stderr
