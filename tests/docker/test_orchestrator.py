"""The orchestrator's image, built and run: read-only root, not root, small, and it searches."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ctgi import __version__
from tests.export.conftest import encoder, exported  # noqa: F401

pytestmark = pytest.mark.slow
HARDENED = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none")


def test_help_and_version_on_a_read_only_root(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    assert "search" in docker("run", *HARDENED, orchestrator).stdout
    assert docker("run", *HARDENED, orchestrator, "--version").stdout.strip() == f"ctgi {__version__}"
    bad = docker("run", *HARDENED, orchestrator, "serach", code=2)
    assert bad.stderr.count("\n") == 1 and "serach" in bad.stderr


def test_it_is_not_root_and_writes_nowhere_but_tmp(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    program = (
        "import os, pathlib\n"
        "print(os.getuid(), os.getgid(), os.getcwd())\n"
        "for folder in ('/', '/opt/ctgi', '/opt/venv', '/data', '/etc', '/tmp'):\n"
        "    try: pathlib.Path(folder, 'x').write_text(''); print(folder)\n"
        "    except OSError: pass\n"
    )
    entry = ("--entrypoint", "python", orchestrator, "-c", program)
    assert docker("run", *HARDENED, *entry).stdout.split() == ["10001", "10001", "/data", "/tmp"]
    # With a root that can be written to, only its own folder is: nothing else belongs to that user.
    assert docker("run", "--rm", *entry).stdout.split()[3:] == ["/data", "/tmp"]


def test_lineage_records_name_the_revision(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    program = "from ctgi.export.lineage import git_revision; print(git_revision())"
    entry = ("--entrypoint", "python", orchestrator, "-c", program)
    assert docker("run", *HARDENED, *entry).stdout.strip() == "abc"


def test_it_holds_no_training_no_kubeflow_no_pip(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    program = (
        "import importlib.util as u, sys\n"
        "names = ('torch', 'open_clip', 'transformers', 'kfp', 'kubernetes', 'pip', 'pytest')\n"
        "print([n for n in names if u.find_spec(n)])\n"
        "import faiss, onnxruntime, openai, tokenizers\n"
    )
    found = docker("run", *HARDENED, "--entrypoint", "python", orchestrator, "-c", program)
    assert found.stdout.strip() == "[]"


def test_it_is_small_labelled_and_lists_what_is_in_it(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    facts = json.loads(docker("image", "inspect", orchestrator).stdout)[0]
    print(f"orchestrator image: {facts['Size'] / 1e6:.0f} MB")
    assert facts["Size"] < 600e6
    config = facts["Config"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["version"] == "7.7" and labels["revision"] == "abc" and labels["licenses"] == "Apache-2.0"
    assert labels["base.name"] == os.environ.get(
        "CTGI_TEST_BASE_IMAGE", "docker.io/library/python:3.12-slim-bookworm"
    )
    assert config["User"] == "10001:10001" and config["Entrypoint"] == ["ctgi"]
    assert config["Healthcheck"]["Test"] == ["CMD", "ctgi", "--version"]
    assert not any("secret" in variable.lower() for variable in config["Env"])
    bill = docker("run", *HARDENED, "--entrypoint", "cat", orchestrator, "/opt/ctgi/sbom.cdx.json")
    parts = {part["name"]: part["version"] for part in json.loads(bill.stdout)["components"]}
    assert json.loads(bill.stdout)["bomFormat"] == "CycloneDX"
    assert {"ctgi", "faiss-cpu", "numpy", "onnxruntime", "openai"} <= set(parts)
    assert parts["ctgi"] == __version__ and "cyclonedx-bom" not in parts


def test_the_health_check_says_healthy(docker, orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    name = f"ctgi-test-health-{os.getpid()}"
    settings = ("--detach", "--name", name, "--health-interval", "1s", "--health-start-period", "0s")
    docker("run", *settings, *HARDENED, "--entrypoint", "sleep", orchestrator, "120")
    try:
        watch = "import sys, time; time.sleep(1)"
        for _ in range(60):
            state = docker("inspect", "--format", "{{.State.Health.Status}}", name).stdout.strip()
            if state != "starting":
                break
            docker("exec", name, "python", "-c", watch)
        assert state == "healthy"
    finally:
        docker("rm", "--force", name, code=None)


def test_a_plain_search_over_mounted_folders(docker, orchestrator: str, exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    release, _ = exported
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (64, 192), colour).save(photos / f"{number}.png")
    for path in (tmp_path, photos, *release.parents[:3]):
        path.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    mounts = (
        "-v",
        f"{release}:/data/release:ro",
        "-v",
        f"{photos}:/data/photos:ro",
        "-v",
        f"{out}:/data/out",
    )
    run = ("run", *HARDENED, *mounts, orchestrator)
    docker(*run, "index", "photos", "--release", "release", "--out", "out/gallery")
    search = ("search", "a man in red", "--gallery", "out/gallery", "--release", "release")
    docker(*run, *search, "--top", "3", "--json", "out/hits.json")
    found = json.loads((out / "hits.json").read_text())
    assert found["command"] == "search"
    # The same search in this process ranks the same.
    from ctgi.cli.main import main

    here = [
        "search",
        "a man in red",
        "--gallery",
        str(out / "gallery"),
        "--release",
        str(release),
        "--top",
        "3",
    ]
    assert main([*here, "--json", str(tmp_path / "here.json")]) == 0
    expected = json.loads((tmp_path / "here.json").read_text())["plain"]
    assert len(expected["ids"]) == 4 and found["plain"]["ids"] == expected["ids"]
    refused = docker(*run, "search", "x", "--gallery", "out/none", "--release", "release", code=2)
    assert refused.stderr.count("\n") == 1


def test_two_builds_give_the_same_layers(docker, build: Callable[..., str], orchestrator: str) -> None:  # type: ignore[no-untyped-def]
    def layers(image: str) -> list[str]:
        return json.loads(docker("image", "inspect", image).stdout)[0]["RootFS"]["Layers"]  # type: ignore[no-any-return]

    first = layers(orchestrator)
    second = build("orchestrator", "--no-cache", "--build-arg", "VERSION=7.8")
    assert layers(second) == first
