"""Run a step's process to its end, so that it can be stopped and does not outlive the run.

KFP 2.17's subprocess runner starts a shell that starts Python, and keeps neither at hand. Here they are a
process group of their own, which gets the signals of `Stopping`; and their standard input is a pipe that
closes with this process, even by kill -9, at which the step ends itself (`components.step`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from components.step import ENDS_WITH_INPUT
from pipelines.stopping import Stopping


def run_process(
    stopping: Stopping, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None
) -> int:
    """Run the command, print what it says, and return its exit code. Raises Stopped where it was stopped."""
    stopping.check()
    with subprocess.Popen(
        list(full_command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env_vars or {}), ENDS_WITH_INPUT: "1"},
        start_new_session=True,
    ) as process:
        # Until its output ends, not until the shell does: on a signal the shell goes first. And the shell is
        # waited for after that, so that its number is nobody else's while it may be sent a signal.
        with stopping.work(partial(_end, process.pid)):
            for line in process.stdout or ():
                print(line, end="")
        print("\n")
        code = process.wait()
    if code:
        stopping.check()
    return code


def _end(group: int, at_once: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter: macOS, of one that is ending
        os.killpg(group, signal.SIGKILL if at_once else signal.SIGTERM)


@contextlib.contextmanager
def stopped_by(stopping: Stopping) -> Iterator[None]:
    """KFP's subprocess runner runs steps by `run_process` for as long as the block runs."""
    from kfp.local import subprocess_task_handler as handler

    before = handler.run_local_subprocess
    handler.run_local_subprocess = partial(run_process, stopping)
    try:
        yield
    finally:
        handler.run_local_subprocess = before
