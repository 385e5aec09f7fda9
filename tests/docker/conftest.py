"""Images that are really built, where there is an engine to build them.

A registry may be out of reach: CTGI_TEST_BASE_IMAGE names a base image that the engine has, and
CTGI_TEST_PIP_CONFIG and CTGI_TEST_CA files that become the build's secrets `pip` and `ca` (docs/images.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Docker = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def docker() -> Docker:
    """Run a docker command; a failure shows what it printed."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("no docker command here: images are neither built nor run")

    def run(*words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [program, *words],
            capture_output=True,
            text=True,
            timeout=1500,
            env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
        )
        said = f"docker {' '.join(words)}\n{found.stdout[-2000:]}\n{found.stderr[-4000:]}"
        assert code is None or found.returncode == code, said
        return found

    if run("info", code=None).returncode:
        pytest.skip("no Docker engine answers: images are neither built nor run")
    if "--secret" not in run("build", "--help", code=None).stdout:
        pytest.skip("this docker command cannot use BuildKit (docker buildx is missing)")
    return run


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile may copy of what git knows, as it is now: the working tree may change during the
    tests, and a clean clone has none of its other files."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listed = subprocess.run(git, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: which files a clean clone has cannot be told")
    folder = tmp_path_factory.mktemp("context")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    wanted = {"Dockerfile", ".dockerignore", *(line.removeprefix("!/") for line in lines if line[:2] == "!/")}
    for name in filter(None, listed.split("\0")):
        if wanted.intersection((name, name.partition("/")[0])) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def build(docker: Docker, context: Path) -> Callable[..., str]:
    """Build a target and return the image's id."""
    base = os.environ.get("CTGI_TEST_BASE_IMAGE")
    settings = ["--build-arg", f"BASE_IMAGE={base}"] if base else []
    for name, variable in (("pip", "CTGI_TEST_PIP_CONFIG"), ("ca", "CTGI_TEST_CA")):
        if os.environ.get(variable):
            settings += ["--secret", f"id={name},src={os.environ[variable]}"]
    if not base and docker("pull", "-q", "python:3.12-slim-bookworm", code=None).returncode:
        pytest.skip("the base image cannot be pulled; name one that is there: CTGI_TEST_BASE_IMAGE")

    def build(target: str, *more: str) -> str:
        tag = f"ctgi-test-{target}"
        docker("build", "--target", target, "--tag", tag, *settings, *more, str(context))
        return docker("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()

    return build


@pytest.fixture(scope="session")
def orchestrator(build: Callable[..., str], docker: Docker) -> Iterator[str]:
    image = build("orchestrator", "--build-arg", "VERSION=7.7", "--build-arg", "REVISION=abc")
    yield image
    docker("image", "rm", "--force", image, code=None)
