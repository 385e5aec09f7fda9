"""`ctgi_train` as a graph of containers: every step runs in the pipeline's own image, by KFP's DockerRunner.

The image is built here (torch with CUDA: some gigabytes) unless CTGI_TEST_PIPELINE_IMAGE names one there is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chat_server import chat_server
from tests.pipelines.conftest import clip, dataset, picture  # noqa: F401

pytestmark = pytest.mark.slow
TRAINING = {"epochs": 1, "batch-size": 4, "base-lr": 1e-4, "adam-eps": 1e-8, "device": "cpu"}


def test_pictures_to_a_release_each_step_a_container(
    docker,  # type: ignore[no-untyped-def]
    build: Callable[..., str],
    dataset: Path,  # noqa: F811
    clip: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("docker", reason="the docker package is not installed")
    from pipelines import here

    image = os.environ.get("CTGI_TEST_PIPELINE_IMAGE")
    if image is None:
        build("pipeline")
        image = "ctgi-test-pipeline:latest"
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)
    place = tmp_path / "root" / "workspace"  # what a container sees of this machine
    for name, folder in (("set", dataset), ("clip", clip)):
        shutil.copytree(folder, place / name)
    for number in range(4):
        picture(place / "photos" / f"{number}.png", (60 * number, 90, 200), number)
    with chat_server() as server:
        values = {
            "pictures": str(place / "photos"),
            "work": str(place / "work"),
            "store": str(place / "store"),
            "server": server.url,
            "model": "small",
            "encoder": str(place / "clip"),
            "data": str(place / "set"),
            "layout": "rstpreid",
            "rounds": 1,
            "per_shard": 2,
            "min_gain": -100.0,
            "training": TRAINING,
        }
        # Containers write what this user can read and remove: the image depends on no user of its own.
        settings = {"network_mode": "host", "shm_size": "1g", "user": f"{os.getuid()}:{os.getgid()}"}
        ended = here.run("ctgi_train", values, tmp_path / "root", image=image, docker=settings)
        asked = len(server.answered)
    with capsys.disabled():
        print(f"pipeline image: {size / 1e9:.1f} GB; the graph took {ended.seconds:.0f} s")
    assert ended.ok, f"{ended.problems}\n{ended.log.read_text(encoding='utf-8')[-6000:]}"
    assert ended.steps["failed"] == 0 and ended.steps["ran"] >= 10
    assert asked >= 1 + 4 * 2  # the preflight's call; a description and an answer a picture

    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import versions

    [published] = versions(open_store(str(place / "store")), "ctgi")
    assert published.facts["parity"]["rank_agreement"] == 1.0
    said = [json.loads(file.read_text()) for file in (place / "store").rglob("lineage.json")]
    identity = docker("image", "inspect", "--format", "{{.Id}}", image).stdout.strip()
    assert said and {one["image"] for one in said} == {identity}
    states = [json.loads(file.read_text()) for file in (place / "work" / "runs").iterdir()]
    assert [state["state"] for state in states] == ["SUCCEEDED"]
