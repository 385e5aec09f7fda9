"""Several processes that share a run, as torchrun would start them, without importing torch once each.

A fork server imports the heavy packages once; its children have clean threads, which pytest's own would not.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.runs"])


def start(count: int, work: Callable[..., None], *given: Any) -> list[BaseProcess]:
    """`work(*given)` in `count` processes, with torchrun's environment; alone where count is 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    facts = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    processes: list[BaseProcess] = []
    for rank in range(count):
        environment = {
            name: str(value) for name, value in {**facts, "RANK": rank, "LOCAL_RANK": rank}.items()
        }
        process = CONTEXT.Process(target=_within, args=(environment, work, given))
        process.start()
        processes.append(process)
    return processes


def run(count: int, work: Callable[..., None], *given: Any) -> None:
    """The same, to the end; fails when one of them does."""
    processes = start(count, work, *given)
    for process in processes:
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * count


def _within(environment: dict[str, str], work: Callable[..., None], given: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    try:
        work(*given)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # without waiting for threads of libraries
