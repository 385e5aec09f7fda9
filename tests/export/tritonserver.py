"""A real Triton Inference Server on the CPU, without a container, for tests.

The wheel `nvidia-pytriton` carries the server and its Python backend; it wants numpy 1, so that it is
unpacked aside, into this environment's `opt/`, and never imported. `tests/export/onnx_backend` stands in for
the onnxruntime backend, which it lacks.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.storage.seaweed import end_with_parent, free_ports

WHEEL = "nvidia-pytriton==0.7.0"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Triton:
    """A server that is up; `log` is where it writes."""

    url: str
    log: Path

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def infer(self, model: str, version: int, name: str, kind: str, values: Any) -> Any:
        """One request; the first output as nested lists."""
        import numpy as np

        array = np.asarray(values)
        entry = {"name": name, "shape": array.shape, "datatype": kind, "data": array.ravel().tolist()}
        request = urllib.request.Request(
            f"{self.url}/v2/models/{model}/versions/{version}/infer",
            json.dumps({"inputs": [entry]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            [output] = json.load(answer)["outputs"]
        return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@functools.cache
def unpacked() -> Path:
    """The folder with the server, unpacked the first time; skips the test where that cannot be had."""
    if sys.platform != "linux" or sys.version_info >= (3, 14):
        pytest.skip("the wheel with tritonserver is for Linux and Python up to 3.13")
    folder = Path(sys.prefix) / "opt" / WHEEL.replace("==", "-")
    if not (folder / "pytriton").is_dir():
        words = ["install", "--quiet", "--no-deps", "--target", str(folder), WHEEL]
        done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"no tritonserver: pip cannot bring {WHEEL}: {done.stderr.strip()[-300:]}")
    server = folder / "pytriton" / "tritonserver"
    backends = server / "backends"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = backends / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(server / "python_backend_stubs" / version / stub.name, stub)
    for program in (stub, server / "bin" / "tritonserver"):
        program.chmod(0o755)
    (backends / "onnxruntime").mkdir(exist_ok=True)
    shutil.copy(HERE / "onnx_backend" / "model.py", backends / "onnxruntime" / "model.py")
    return folder


@contextmanager
def triton(
    repository: str, tmp_path: Path, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[Triton]:
    """Serve the repository, a folder or s3://…; the server ends with the block.

    Raises:
        RuntimeError: it does not come up; with what it wrote.
    """
    folder = unpacked()
    server = folder / "pytriton" / "tritonserver"
    http, grpc, metrics = free_ports(3)
    libraries = [folder / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    log = tmp_path / f"triton-{http}.log"
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={server / 'backends'}",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=5",
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        *words,
    ]
    variables = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "CTGI_SITE_PACKAGES": os.pathsep.join(_site_packages()),
        **(environment or {}),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=variables, cwd=tmp_path, stdout=out, stderr=out, preexec_fn=end_with_parent
        )
    try:
        running = Triton(f"http://127.0.0.1:{http}", log)
        _wait(running, process)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _site_packages() -> Sequence[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


def _wait(running: Triton, process: subprocess.Popen[bytes], patience: float = 180) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            return running.get("/v2/health/ready")
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    process.kill()
    process.wait()
    raise RuntimeError(running.log.read_text(encoding="utf-8", errors="replace")[-6000:])
