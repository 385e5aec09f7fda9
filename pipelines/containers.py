"""Run a step's container to its end, and take the exit code from the engine.

KFP 2.17's Docker runner has containers removed by the engine as soon as they end, and takes one that went
before it was asked for how it ended for a success. Here a container is removed once it has been asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pipelines.stopping import Stopping

#: For a container of which nobody can tell any more how it ended.
UNKNOWN = 125


def run_container(
    stopping: Stopping,
    client: Any,
    image: str,
    command: Sequence[str],
    volumes: Mapping[str, Any],
    **arguments: Any,
) -> int:
    """Run the container, print what it says, and return its exit code; never 0 where that is not known.

    Raises Stopped where it was stopped.
    """
    from docker.errors import DockerException
    from urllib3.exceptions import HTTPError

    lost = (DockerException, HTTPError, OSError)  # what the SDK, and its transport, let through
    stopping.check()

    def end(at_once: bool) -> None:
        with contextlib.suppress(*lost):
            container.kill("SIGKILL" if at_once else "SIGTERM")

    try:
        container = client.containers.create(
            image=image, command=list(command), volumes=dict(volumes), **arguments
        )
        try:
            container.start()
            with stopping.work(end):
                _tell(container, lost)
                code = int(container.wait()["StatusCode"])
        finally:
            with contextlib.suppress(*lost):
                container.remove(force=True)
    except lost as error:
        print(f"DockerException: {_line(error)}")
        code = UNKNOWN
    if code:
        stopping.check()
    return code


def _tell(container: Any, lost: tuple[type[Exception], ...]) -> None:
    """Print what it says. Not being able to read that is no failure of the step."""
    try:
        for piece in container.logs(stream=True):
            print(piece.decode("utf-8", "replace"), end="")
    except lost as error:
        print(f"its output cannot be read ({_line(error)})")


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())


@contextlib.contextmanager
def asked_how_they_ended(stopping: Stopping) -> Iterator[None]:
    """KFP's Docker runner runs containers by `run_container` for as long as the block runs."""
    from kfp.local import docker_task_handler as handler

    before = handler.run_docker_container
    handler.run_docker_container = partial(run_container, stopping)
    try:
        yield
    finally:
        handler.run_docker_container = before
