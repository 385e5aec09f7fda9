"""Run a pipeline on this machine: each step a process (`--local`), or a container (`--docker`).

The same graph as on a cluster, by `kfp.local`. What steps leave in the workspace and what KFP's cache holds
makes a second run go on where the first one stopped. KFP's own output, with that of the steps, goes to a log;
the terminal shows a line for each step.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from components.binding import ROOT, container_steps, local_steps
from ctgi.errors import CtgiError
from ctgi.export.lineage import IMAGE_DIGEST
from ctgi.storage.alone import alone
from pipelines.catalog import build
from pipelines.containers import asked_how_they_ended
from pipelines.processes import stopped_by
from pipelines.stopping import Stopped, Stopping

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TASK = re.compile(r"Task '([\w-]+)' finished with status (\w+)")
_CACHED = re.compile(r"Task ([\w-]+) cache hit")
_TRY = re.compile(r"Task ([\w-]+) failed \(attempt (\d+)/(\d+)\)")
_RAISED = re.compile(r"^\s*(?:\w+\.)*\w+(?:Error|Exception): ")  # the end of a traceback: a step gone wrong
_SAID = re.compile(r"^\s*((?:[a-z_]+)(?: \d\d-of-\d\d)?: .*)")


@dataclass
class Ended:
    """How a run ended. `steps` counts outcomes: ran, reused, failed."""

    ok: bool
    seconds: float
    log: Path
    steps: dict[str, int] = field(default_factory=lambda: {"ran": 0, "reused": 0, "failed": 0})
    problems: list[str] = field(default_factory=list)


def run(
    name: str,
    values: Mapping[str, Any],
    root: Path,
    *,
    image: str = "",
    docker: dict[str, Any] | None = None,
    gpus: int = 0,
) -> Ended:
    """Run the pipeline `name`, training on so many `gpus` (0: on what there is); with an `image`, by Docker.

    `root` takes KFP's outputs, cache and logs; a container sees that folder alone, under its own path.
    `docker` are further arguments of `docker run` (device_requests for GPUs, shm_size, network_mode,
    environment, user).

    Raises CtgiError where Docker or its image is not there, and where a run is at work in `root`;
    KeyboardInterrupt where a signal stopped it, once its steps have ended.
    """
    from kfp import local

    root = root.resolve()
    with alone(root, "--root"):
        log = root / "logs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S-%f}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if image:
            # By its id, which is part of the cache's key: a name may be given to another image tomorrow.
            image = _id(image)
            environment = {**(docker or {}).get("environment", {}), IMAGE_DIGEST: image}
            runner: Any = local.DockerRunner(**{**(docker or {}), "environment": environment})
            steps = container_steps(image)
        else:
            runner = local.SubprocessRunner(use_venv=False)
            steps = local_steps()
        local.init(
            runner,
            # A container sees what lies below this folder, under the same path: so all of `root`.
            pipeline_root=str(root if image else root / "outputs"),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(root / "cache"),
        )
        pipeline = build(name, steps, None, gpus)
        with log.open("w", encoding="utf-8") as file, _environment():
            narrator = _Narrator(file, sys.stdout)
            stopping = Stopping(narrator.tell)
            start = time.monotonic()
            with narrator.listening(), (asked_how_they_ended if image else stopped_by)(stopping):
                with stopping.listening():
                    ended = _start(pipeline, values)
            if stopping.asked:
                raise KeyboardInterrupt
            narrator.ended.ok = ended and narrator.succeeded
            narrator.ended.seconds, narrator.ended.log = time.monotonic() - start, log
        return narrator.ended


def _id(image: str) -> str:
    """What the engine knows the image by."""
    import docker

    try:
        with contextlib.closing(docker.from_env()) as engine:
            return str(engine.images.get(image).id)
    except docker.errors.DockerException as error:
        raise CtgiError(f"image {image}: Docker does not have it ({' '.join(str(error).split())})") from error


def _start(pipeline: Any, values: Mapping[str, Any]) -> bool:
    try:
        pipeline(**values)
    except Stopped:
        return False
    except Exception as error:  # KFP raises whatever went wrong in its own threads
        logging.error("Pipeline could not go on: %s", " ".join(str(error).split()))
        return False
    return True


class _Narrator(io.TextIOBase):
    """Takes everything that KFP prints: all of it to the log, what a person wants to know to the terminal."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self._log, self._terminal = log, terminal
        self._rest: dict[int, str] = {}
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self.succeeded = False
        self.ended = Ended(False, 0.0, Path())

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        thread = threading.get_ident()  # two shards write at the same time, each its own lines
        with self._lock:
            *lines, self._rest[thread] = (self._rest.get(thread, "") + text).split("\n")
            for line in lines:
                self._one(_COLOURS.sub("", line))
        return len(text)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Standard output and error come here, and what is logged.

        KFP puts a handler of its own in place while a step runs, and steps that run side by side put back
        each other's: so there is one before, with its level, and whoever comes last leaves one that works.
        """
        logger = logging.getLogger()
        handlers, level = logger.handlers[:], logger.level
        logger.handlers = [logging.StreamHandler(self)]
        logger.setLevel(logging.INFO)
        try:
            with contextlib.redirect_stdout(self), contextlib.redirect_stderr(self):  # type: ignore[type-var]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    yield
        finally:
            logger.handlers = handlers
            logger.setLevel(level)

    def _one(self, line: str) -> None:
        # `write`, not `print`: while a step runs KFP puts a `print` of its own in place, which indents.
        self._log.write(f"{line}\n")
        self._log.flush()
        steps = self.ended.steps
        if found := _CACHED.search(line):
            steps["reused"] += 1
            self.tell(f"{found[1]:<20} reused")
        elif found := _TASK.search(line):
            done = found[2] == "SUCCESS"
            steps["ran" if done else "failed"] += 1
            self.tell(f"{found[1]:<20} {'done' if done else 'FAILED'}")
        elif found := _TRY.search(line):
            steps["failed"] -= 1
            self.tell(f"{found[1]:<20} tried again ({found[2]} of {int(found[3]) - 1})")
        elif "finished with status SUCCESS" in line and "Pipeline" in line:
            self.succeeded = True
        elif found := _SAID.match(line):
            if found[1] not in self.ended.problems and found[1].split(" ")[0].rstrip(":") in _step_names():
                self.ended.problems.append(found[1])
                self.tell(found[1])
        elif "Pipeline could not go on" in line or _RAISED.match(line):
            if line.strip() not in self.ended.problems:
                self.ended.problems.append(line.strip())
                self.tell(line.strip())

    def tell(self, line: str) -> None:
        """A line to the terminal, with the time."""
        self._terminal.write(f"{time.monotonic() - self._start:7.1f} s  {line}\n")
        self._terminal.flush()


def _step_names() -> tuple[str, ...]:
    from components.binding import STEPS

    return STEPS


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Steps find the packages of this repository whatever folder the command was called in."""
    before, printed = os.environ.get("PYTHONPATH"), builtins.print
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        builtins.print = printed  # KFP's threads put each other's back
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
