"""A link of a given speed in front of a server: a process that passes connections on, all of them together no
faster than so many bytes a second. `python -m benchmarks.link PORT BYTES-A-SECOND` prints its own port.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PIECE = 1 << 18


@contextmanager
def link(endpoint: str, rate: float) -> Iterator[str]:
    """The endpoint of a link to `endpoint` ("127.0.0.1:PORT"), for as long as the block runs."""
    port = endpoint.rpartition(":")[2]
    words = [sys.executable, "-m", "benchmarks.link", port, str(rate)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class _Clock:
    """When the next bytes may pass."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free, self._lock = rate, 0.0, threading.Lock()

    def wait(self, size: int) -> None:
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size / self._rate
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))


def _pass(one: socket.socket, other: socket.socket, clock: _Clock) -> None:
    try:
        while data := one.recv(PIECE):
            clock.wait(len(data))
            other.sendall(data)
    except OSError:
        pass
    finally:
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _main(port: int, rate: float) -> None:
    clock, listener = _Clock(rate), socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        inside, _ = listener.accept()
        outside = socket.create_connection(("127.0.0.1", port))
        for ends in ((inside, outside), (outside, inside)):
            threading.Thread(target=_pass, args=(*ends, clock), daemon=True).start()


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]))
