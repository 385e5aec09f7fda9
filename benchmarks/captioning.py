"""Captioning pictures at once against one call after another, over the same server.

The server is the demo's small Qwen2-VL, started here, unless CTGI_BENCH_SERVER (an OpenAI base URL) and
CTGI_BENCH_MODEL (its model's name) name another one. Neither way has a reply cache, and each has pictures
of its own (CTGI_BENCH_PICTURES of them, 16 if unset), so that nothing the server remembers helps the second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Ratio
from ctgi.errors import CtgiError

CONCURRENCY = 8


def measure(out: Path) -> list[Ratio]:
    """Seconds a picture of whole interviews, 8 calls at a time against one.

    Raises:
        CtgiError: the small model's weights are not there and no other server is named, or a server that
        fails.
    """
    count = int(os.environ.get("CTGI_BENCH_PICTURES", "16"))
    with _server() as (url, model), tempfile.TemporaryDirectory() as folder:
        pictures = _render(Path(folder) / "pictures", 2 * count + 2)
        _caption(pictures[-2:], Path(folder) / "warm", url, model, 1)
        # One of each in turns: a busy moment of the machine hits both.
        seconds, calls = {1: 0.0, CONCURRENCY: 0.0}, {1: 0, CONCURRENCY: 0}
        half = count // 2
        parts = [pictures[start : start + half] for start in range(0, 4 * half, half)]
        for number, (part, width) in enumerate(zip(parts, (1, CONCURRENCY, CONCURRENCY, 1), strict=True)):
            summary = _caption(part, Path(folder) / f"out{number}", url, model, width)
            seconds[width] += summary.seconds
            calls[width] += summary.calls
    facts = {
        "pictures": 2 * half,
        "concurrency": CONCURRENCY,
        "calls": calls[CONCURRENCY],
        "calls_plain": calls[1],
    }
    per_picture = [seconds[width] / (2 * half) for width in (CONCURRENCY, 1)]
    return [
        Ratio(
            f"captioning, {CONCURRENCY} at once against one by one (s a picture)", *per_picture, facts=facts
        )
    ]


def _caption(pictures: list[Path], out: Path, url: str, model: str, concurrency: int):  # type: ignore[no-untyped-def]
    from ctgi.captioning.run import caption_pictures
    from ctgi.mllm.client import ChatClient

    async def work():  # type: ignore[no-untyped-def]
        key = os.environ.get("OPENAI_API_KEY")
        async with ChatClient(url, model, api_key=key, concurrency=concurrency, timeout=300.0) as client:
            return await caption_pictures(
                pictures, out, client, in_flight=1 if concurrency == 1 else 2 * concurrency
            )

    return asyncio.run(work())


@contextlib.contextmanager
def _server() -> Iterator[tuple[str, str]]:
    url, model = os.environ.get("CTGI_BENCH_SERVER"), os.environ.get("CTGI_BENCH_MODEL")
    if url and model:
        yield url, model
        return
    from demo.models.launch import QWEN2VL, running

    if not (QWEN2VL / "model.safetensors").is_file():
        raise CtgiError(
            f"{QWEN2VL}: the small model's weights are not there; train them, "
            "or name a server with CTGI_BENCH_SERVER and CTGI_BENCH_MODEL"
        )
    try:
        with running() as started:
            yield started, QWEN2VL.name
    except RuntimeError as error:
        raise CtgiError(str(error)) from error


def _render(folder: Path, count: int) -> list[Path]:
    from PIL import Image

    from demo.pedestrians.attributes import sample_person
    from demo.pedestrians.camera import sample_view
    from demo.pedestrians.render import render

    rng = np.random.default_rng(2024)
    folder.mkdir()
    paths = []
    for number in range(count):
        pixels, _ = render(sample_person(rng), sample_view(rng))
        paths.append(folder / f"{number:03d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
