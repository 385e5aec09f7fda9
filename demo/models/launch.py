"""Start the small model's server for as long as a block runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
QWEN2VL = WEIGHTS / "qwen2vl"
CLIP = WEIGHTS / "clip"


@contextmanager
def running(model: Path = QWEN2VL, threads: int = 1) -> Iterator[str]:
    """The base URL (``http://…/v1``) of a server of ``model`` on a free port; stopped on the way out, and
    also when this process is killed.

    Raises RuntimeError with what the server printed if it does not come up.
    """
    command = [sys.executable, "-m", "demo.models.server", "--model", str(model.resolve()), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--threads", str(threads), "--exit-with-parent"],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("serving ") and " at " in line:
                yield line.rsplit(" at ", 1)[1].strip()
                return
        raise RuntimeError(f"the chat server did not start: {''.join(said).strip()}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
