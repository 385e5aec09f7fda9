"""Publishing and fetching a release of 600 MB against the bare `minio` SDK, on a real local S3 server.

The SDK's `fput_object` and `fget_object` move the same files and check nothing. Ours also reads every byte
once more to know its SHA-256, creates the manifest, checks what was fetched and syncs it to disk; so fetching
is also compared with the SDK followed by a plain hash and sync, and over a link of a gigabit a second, where
checking and syncing have time while more is on its way. CTGI_BENCH_MB sets another size.
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
from minio import Minio

from benchmarks.link import link
from benchmarks.measure import Ratio
from ctgi.errors import CtgiError

SHARES = {"image_encoder.onnx": 0.58, "text_encoder.onnx": 0.41, "tokenizer.json": 0.01}
ROUNDS = 5
GIGABIT = 1e9 / 8  # bytes a second


def measure(out: Path) -> list[Ratio]:
    """Seconds to publish and to fetch, of five rounds taken in turns that whose ratio is the middle one.

    Raises:
        CtgiError: `weed` is not installed.
    """
    from tests.storage.seaweed import BUCKET, running

    try:
        server = running()
    except RuntimeError as error:
        raise CtgiError(str(error)) from error

    from ctgi.storage.fetch import fetch
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import publish

    client = _client(server.endpoint)
    megabytes = int(os.environ.get("CTGI_BENCH_MB", "600"))
    put: tuple[list[float], list[float]] = ([], [])
    got: tuple[list[float], list[float], list[float]] = ([], [], [])
    far: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "release"
        _write(release, megabytes)
        for number in range(ROUNDS):
            os.environ.update(server.environment())
            store = open_store(server.url("bench"))
            there, ours, raw = f"raw-{number}", Path(folder) / "ours", Path(folder) / "raw"
            raw.mkdir()

            def send(there: str = there) -> None:
                for name in SHARES:
                    client.fput_object(BUCKET, f"{there}/{name}", str(release / name))

            def bring(client: Minio = client, there: str = there, raw: Path = raw) -> None:
                for name in SHARES:
                    client.fget_object(BUCKET, f"{there}/{name}", str(raw / name))

            put[1].append(_seconds(send))
            put[0].append(_seconds(lambda store=store: publish(store, release, "bench")))
            got[1].append(_seconds(bring))
            got[2].append(got[1][-1] + _seconds(lambda raw=raw: _check(raw), sync=False))
            got[0].append(_seconds(lambda store=store, ours=ours: fetch(store, "bench", "latest", ours)))
            for done in (ours, raw):
                shutil.rmtree(done)
            with link(server.endpoint, GIGABIT) as endpoint:
                os.environ["CTGI_S3_ENDPOINT"] = endpoint
                store = open_store(store.url)
                raw.mkdir()
                far[1].append(_seconds(lambda endpoint=endpoint: bring(_client(endpoint))))
                far[0].append(_seconds(lambda store=store, ours=ours: fetch(store, "bench", "latest", ours)))
            for done in (ours, raw):
                shutil.rmtree(done)
            for found in [*client.list_objects(BUCKET, recursive=True)]:
                client.remove_object(BUCKET, found.object_name)
    facts = {"megabytes": megabytes, "rounds": ROUNDS}
    return [
        Ratio(f"publish of {megabytes} MB against the SDK alone", *_middle(*put), facts=facts),
        Ratio(f"fetch of {megabytes} MB against the SDK alone", *_middle(*got[:2]), facts=facts),
        Ratio(f"fetch of {megabytes} MB against the SDK, hash and sync", *_middle(*got[::2]), facts=facts),
        Ratio(f"fetch of {megabytes} MB over a gigabit against the SDK alone", *_middle(*far), facts=facts),
    ]


def _client(endpoint: str) -> Minio:
    from tests.storage.seaweed import ACCESS_KEY, SECRET_KEY

    return Minio(endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")


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


def _middle(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The round with the median ratio: a machine that is busy for a while slows both sides of a round."""
    return sorted(zip(ours, theirs, strict=True), key=lambda pair: pair[0] / pair[1])[len(ours) // 2]
