"""Steps in processes that are killed with signal 9 at chosen moments.

Moments are counted: everything that a step changes below one folder (a file opened for writing, a rename, a
link, a folder made or removed) and everything that it sends to a store is one. A process with the number of a
moment kills itself, and all that it has started, right there: as kill -9 does, nothing is cleaned up. With
`late` it does so that many seconds after, wherever it is by then.

The steps are forked from one process that has imported everything, since importing takes longer than their
work: `python tests/components/killing.py` reads a line of JSON for each, and answers with one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# What changes a folder, as Python's auditing calls it, and where the path is among its arguments.
CHANGES = {"os.rename": 1, "os.link": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0}
IMPORTED = (
    "torch", "torchvision", "open_clip", "safetensors.torch", "transformers", "onnx", "onnxscript",
    "onnxruntime", "tokenizers", "pyarrow.parquet", "openai", "minio", "kfp.dsl.executor",
    "matplotlib.pyplot", "torch.onnx", "ctgi.training.engine", "ctgi.training.objectives.build",
    "ctgi.export.publish", "ctgi.cli.train", "ctgi.cli.export", "ctgi.cli.index", "ctgi.cli.evaluate",
    "ctgi.captioning.run", "ctgi.interaction.calibration", "ctgi.interaction.enrol", "ctgi.gallery.index",
)  # fmt: skip


@dataclass(frozen=True)
class End:
    """How a step ended: its exit code, negative for a signal; how many moments it saw; what it said."""

    code: int
    moments: int
    said: str


class Steps:
    """The process that steps are forked from. `folder` is the one whose changes count."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        kill: int | None = None,
        late: float = 0.0,
    ) -> End:
        """Run the step `name`, to its end or to the moment of number `kill` (from 1)."""
        order = {
            "name": name, "words": list(words), "environment": dict(environment), "kill": kill, "late": late,
            "folder": str(self._folder), "scratch": str(self._scratch),
        }  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return End(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:  # a test was interrupted in the middle of a step
            self._process.kill()
            self._process.wait()


def _serve() -> None:
    import importlib

    from components.binding import STEPS

    for name in (*IMPORTED, *(f"components.{step}" for step in STEPS)):
        importlib.import_module(name)
    importlib.import_module("components.train")._run = _train
    importlib.import_module("components.workspace").EVERY = 0.1
    lease = importlib.import_module("components.lease")
    lease.BEAT, lease.KEEPS, lease.LAPSE = 0.3, 2.0, 5.0
    assert threading.active_count() == 1, "a thread would not be there after the fork"
    for line in sys.stdin:
        order = json.loads(line)
        scratch = Path(order["scratch"])
        log, moments = scratch / "log", scratch / "moments"
        for file in (log, moments):
            file.write_bytes(b"")
        process = os.fork()
        if process == 0:
            _step(order, log, moments)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said = log.read_text(encoding="utf-8", errors="replace")
        end = {"code": code, "moments": moments.stat().st_size, "said": said}
        print(json.dumps(end), flush=True)


def _step(order: dict[str, Any], log: Path, moments: Path) -> None:
    """In the forked process: the step's own entry point, as `python -m components.NAME` calls it."""
    from components.binding import function_of
    from components.step import entry

    code = 1
    try:
        os.setsid()
        told = os.open(log, os.O_WRONLY | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(told, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])
        _watch(order, moments)
        code = entry(function_of(order["name"]), order["words"])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(order: dict[str, Any], moments: Path) -> None:
    """Count in a file, so that a step and a command that it starts count together."""
    counter, place = os.open(moments, os.O_WRONLY | os.O_APPEND), order["folder"]

    def die() -> None:
        time.sleep(order["late"])
        os.killpg(0, signal.SIGKILL)

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITES:
                return
            path = arguments[0]
        elif event in CHANGES:
            path = arguments[CHANGES[event]]
        elif event == "http.client.send":
            path = place
        else:
            return
        if isinstance(path, int) or not _below(os.fsdecode(path), arguments, place):
            return
        os.write(counter, b".")
        if os.fstat(counter).st_size == order["kill"]:
            if not order["late"]:
                os.killpg(0, signal.SIGKILL)
            threading.Thread(target=die, daemon=True).start()

    sys.addaudithook(seen)


def _below(path: str, arguments: tuple[Any, ...], place: str) -> bool:
    """Also for names that are relative to an open folder, as `shutil.rmtree` has them."""
    if not path.startswith("/") and isinstance(arguments[-1], int) and arguments[-1] >= 0:
        try:
            path = f"{os.readlink(f'/proc/self/fd/{arguments[-1]}')}/{path}"
        except OSError:
            return False
    return path == place or path.startswith(f"{place}/")


def _train(words: list[str], gpus: int) -> None:
    """`ctgi train` in a process of its own, as the step starts it, but forked for the imports' sake."""
    from ctgi.cli.main import main
    from ctgi.errors import CtgiError

    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = main(words)
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise CtgiError("`ctgi train` failed; its own line above says why")


if __name__ == "__main__":
    _serve()
