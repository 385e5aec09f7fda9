"""Publishing and fetching a release of 600 MB against the bare `minio` SDK, on a real local S3 server.

The SDK's `fput_object` and `fget_object` move the same files and check nothing. Ours also reads every byte
once more to know its SHA-256, creates the manifest, checks what was fetched and syncs it to disk; so fetching
is also compared with the SDK followed by a plain hash and sync. CTGI_BENCH_MB sets another size.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio
from ctgi.errors import CtgiError

SHARES = {"image_encoder.onnx": 0.58, "text_encoder.onnx": 0.41, "tokenizer.json": 0.01}
ROUNDS = 3


def measure(out: Path) -> list[Ratio]:
    """Seconds to publish and to fetch, medians of three rounds taken in turns.

    Raises:
        CtgiError: `weed` is not installed.
    """
    from tests.storage.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, running

    try:
        server = running()
    except RuntimeError as error:
        raise CtgiError(str(error)) from error
    from minio import Minio

    from ctgi.storage.fetch import fetch
    from ctgi.storage.releases import publish
    from ctgi.storage.store import open_store

    os.environ.update(server.environment())
    client = Minio(server.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")
    megabytes = int(os.environ.get("CTGI_BENCH_MB", "600"))
    put: tuple[list[float], list[float]] = ([], [])
    got: tuple[list[float], list[float], list[float]] = ([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "release"
        _write(release, megabytes)
        for number in range(ROUNDS):
            store = open_store(server.url("bench"))
            there, ours, raw = f"raw-{number}", Path(folder) / "ours", Path(folder) / "raw"
            raw.mkdir()

            def send(there: str = there) -> None:
                for name in SHARES:
                    client.fput_object(BUCKET, f"{there}/{name}", str(release / name))

            def bring(there: str = there, raw: Path = raw) -> None:
                for name in SHARES:
                    client.fget_object(BUCKET, f"{there}/{name}", str(raw / name))

            put[1].append(_seconds(send))
            put[0].append(_seconds(lambda store=store: publish(store, release, "bench")))
            got[1].append(_seconds(bring))
            got[2].append(got[1][-1] + _seconds(lambda raw=raw: _check(raw), sync=False))
            got[0].append(_seconds(lambda store=store, ours=ours: fetch(store, "bench", "latest", ours)))
            for done in (ours, raw):
                shutil.rmtree(done)
            for found in [*client.list_objects(BUCKET, recursive=True)]:
                client.remove_object(BUCKET, found.object_name)
    facts = {"megabytes": megabytes, "rounds": ROUNDS}
    return [
        Ratio(f"publish of {megabytes} MB against the SDK alone", *map(_median, put), facts=facts),
        Ratio(f"fetch of {megabytes} MB against the SDK alone", *map(_median, got[:2]), facts=facts),
        Ratio(
            f"fetch of {megabytes} MB against the SDK, hash and sync", *map(_median, got[::2]), facts=facts
        ),
    ]


def _write(folder: Path, megabytes: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, share in SHARES.items():
        (folder / name).write_bytes(rng.bytes(int(megabytes * share * 1e6)))


def _check(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as handle:
            hashlib.file_digest(handle, "sha256")
            os.fsync(handle.fileno())


def _seconds(call: Callable[[], object], sync: bool = True) -> float:
    if sync:
        os.sync()  # what the call before left to be written is not this one's
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _median(times: list[float]) -> float:
    return float(np.median(times))
