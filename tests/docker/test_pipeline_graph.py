"""`ctgi pipeline run --docker`: every step runs in the pipeline's own image, by KFP's DockerRunner.

The image is built here (torch with CUDA: some gigabytes) unless CTGI_TEST_PIPELINE_IMAGE names one there is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chat_server import chat_server
from tests.pipelines.conftest import clip, dataset, picture, s3_server  # noqa: F401

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"epochs": 1, "batch-size": 4, "base-lr": 1e-4, "adam-eps": 1e-8, "device": "cpu"}


@pytest.fixture(scope="module")
def image(docker, build: Callable[..., str]) -> str:  # type: ignore[no-untyped-def]
    pytest.importorskip("docker", reason="the docker package is not installed")
    if there := os.environ.get("CTGI_TEST_PIPELINE_IMAGE"):
        return there
    build("pipeline")
    return "ctgi-test-pipeline:latest"


def run(
    pipeline: str, image: str, root: Path, values: dict[str, Any], *more: str
) -> tuple[int, dict[str, Any]]:
    """The command; its exit code, and what it said of how the run ended."""
    words = [
        sys.executable,
        "-m",
        "ctgi",
        "pipeline",
        "run",
        pipeline,
        "--docker",
        image,
        "--root",
        str(root),
    ]
    for name, value in values.items():
        words += ["--set", f"{name}={value}"]
    done = subprocess.run(
        [*words, "--json", str(root / "told.json"), "--shm-size", "1g", *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert (root / "told.json").is_file(), done.stderr
    told: dict[str, Any] = json.loads((root / "told.json").read_text(encoding="utf-8"))
    return done.returncode, {**told, "said": done.stdout + done.stderr}


def ended(work: Path) -> list[str]:
    return [json.loads(file.read_text(encoding="utf-8"))["state"] for file in (work / "runs").iterdir()]


def test_pictures_to_a_release_each_step_a_container(
    docker,  # type: ignore[no-untyped-def]
    image: str,
    dataset: Path,  # noqa: F811
    clip: Path,  # noqa: F811
    s3_server: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import versions

    s3_server.into(monkeypatch)  # in the environment alone: the command hands it on to the containers
    store = s3_server.url("releases")
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)
    place = tmp_path / "root" / "workspace"  # what a container sees of this machine
    for name, folder in (("set", dataset), ("clip", clip)):
        shutil.copytree(folder, place / name)
    for number in range(4):
        picture(place / "photos" / f"{number}.png", (60 * number, 90, 200), number)
    with chat_server() as server:
        values = {
            "pictures": place / "photos",
            "work": place / "work",
            "store": store,
            "server": server.url,
            "model": "small",
            "encoder": place / "clip",
            "data": place / "set",
            "layout": "rstpreid",
            "rounds": 1,
            "per_shard": 2,
            "min_gain": -100.0,
            "training": json.dumps(TRAINING),
        }
        code, told = run("ctgi_train", image, tmp_path / "root", values)
        asked = len(server.answered)
    with capsys.disabled():
        print(f"pipeline image: {size / 1e9:.1f} GB; the graph took {told['seconds']:.0f} s")
    assert code == 0 and told["ok"], told["said"] + Path(told["log"]).read_text(encoding="utf-8")[-6000:]
    assert told["steps"]["failed"] == 0 and told["steps"]["ran"] >= 10
    assert asked >= 1 + 4 * 2  # the preflight's call; a description and an answer a picture

    [published] = versions(open_store(store), "ctgi")
    assert published.facts["parity"]["rank_agreement"] == 1.0
    there = open_store(store)
    said = [json.loads(there.read(e.key)) for e in there.list() if e.key.endswith("lineage.json")]
    identity = docker("image", "inspect", "--format", "{{.Id}}", image).stdout.strip()
    assert said and {one["image"] for one in said} == {identity}
    assert ended(place / "work") == ["SUCCEEDED"]
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (place / "work").rglob("*")}
    assert owners == {(os.getuid(), os.getgid())}


def test_a_step_that_fails_in_its_container_fails_the_run(docker, image: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    place = tmp_path / "root" / "workspace"
    place.mkdir(parents=True)
    values = {
        "pictures": place / "none",
        "work": place / "work",
        "store": place / "store",
        "gallery": place / "galleries",
    }
    code, told = run("ctgi_gallery", image, tmp_path / "root", values, "--no-preflight")
    assert code == 2 and not told["ok"] and told["steps"]["failed"] == 1
    [problem] = [line for line in told["problems"] if line.startswith("preflight: ")]
    assert f"pictures ({place}/none): no such folder" in problem
    assert ended(place / "work") == ["FAILED"]
    left = docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout
    assert left == ""  # containers are removed once they were asked


def test_a_run_that_sees_too_little_is_not_started(docker, image: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = {name: f"{tmp_path}/{name}" for name in ("pictures", "work", "store", "gallery")}
    words = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "ctgi", "pipeline", "run", "ctgi_gallery", "--docker", image, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert "containers see nothing else" in done.stderr and f"image {image}: on this machine" in done.stderr
