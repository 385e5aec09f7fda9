"""What a run writes down as it goes: JSON lines, and TensorBoard where it is wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_text

EPOCHS, STEPS, BOARD = "log.jsonl", "steps.jsonl", "tensorboard"


class RunLog:
    """log.jsonl: a record an epoch. steps.jsonl: losses and rate of every step. tensorboard/: both, for
    TensorBoard. What a killed run wrote beyond its last checkpoint is dropped when it goes on.

    Raises CtgiError when TensorBoard is wanted and not installed.
    """

    def __init__(self, out: Path, epoch: int, step: int, steps: int, board: bool) -> None:
        self._out, self._steps = out, steps
        self._board = _writer(out / BOARD, epoch * steps + step) if board else None
        self._lines = _opened(out / STEPS, epoch, step)

    def step(self, epoch: int, step: int, losses: Mapping[str, float], rate: float) -> None:
        """One step was taken; epoch and step are counted from 0."""
        record = {"epoch": epoch, "step": step, "losses": losses, "lr": rate}
        self._lines.write(json.dumps(record) + "\n")
        if self._board is not None:
            place = epoch * self._steps + step
            for name, value in losses.items():
                self._board.add_scalar(f"loss/{name}", value, place)
            self._board.add_scalar("lr", rate, place)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """An epoch has ended, the last one of `history`."""
        self._lines.flush()
        write_text(self._out / EPOCHS, "".join(json.dumps(line) + "\n" for line in history))
        if self._board is not None:
            for name, value in history[-1]["metrics"].items():
                self._board.add_scalar(f"val/{name}", value, history[-1]["epoch"] * self._steps)
            self._board.flush()

    def close(self) -> None:
        """Write out what is still in memory."""
        self._lines.close()
        if self._board is not None:
            self._board.close()


def _writer(folder: Path, place: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # type: ignore[attr-defined, unused-ignore]
    except ImportError as error:
        raise CtgiError(
            "tensorboard is not installed: pip install 'ctgi[tensorboard]', or leave --tensorboard out; "
            f"{STEPS} and {EPOCHS} hold the same figures"
        ) from error
    return SummaryWriter(str(folder), purge_step=place)


def _opened(path: Path, epoch: int, step: int) -> Any:
    """Ready for the line of (epoch, step), with those before it and none after."""
    kept = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # torn by a kill
                break
            if (record["epoch"], record["step"]) >= (epoch, step):
                break
            kept.append(line + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(kept))
    return open(path, "a", encoding="utf-8", buffering=1 if os.name == "posix" else -1)
