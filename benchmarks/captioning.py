"""Captioning against what the language-model server can give at all, and against one call after another.

Three ways over the same server: `ctgi caption`'s pipeline, then the very requests it made, sent again by a
sender that does nothing else (`benchmarks.saturation`: the server's own limit), and the pipeline with one
call at a time. Nothing is remembered from one way to the next: no way has a reply cache, and before the
requests are sent again one pixel of every picture is changed, so that no cache of the server knows it.

The server is the demo's small Qwen2-VL, started here, unless CTGI_BENCH_SERVER (an OpenAI base URL) and
CTGI_BENCH_MODEL (its model's name) name another one; CTGI_BENCH_PICTURES (96) pictures,
CTGI_BENCH_CONCURRENCY (64, twice what the server batches) calls at a time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Ratio
from benchmarks.saturation import saturate
from ctgi.errors import CtgiError

ROUNDS = 2  # of each way in turns, so that a busy moment of the machine hits all


def measure(out: Path) -> list[Ratio]:
    """Seconds a picture of whole interviews; the first ratio is the efficiency (1 is the server's limit).

    Raises:
        CtgiError: the small model's weights are not there and no other server is named, or a server that
        fails.
    """
    count = int(os.environ.get("CTGI_BENCH_PICTURES", "96")) // ROUNDS
    width = int(os.environ.get("CTGI_BENCH_CONCURRENCY", "64"))
    few = max(2, count // 6)  # one by one takes its time
    ours = limit = alone = busy = 0.0
    calls, tokens, again = 0, [0, 0], [0, 0]
    with _server() as (url, model), tempfile.TemporaryDirectory() as folder:
        pictures = _render(Path(folder) / "pictures", (count + few) * ROUNDS + 2)
        _caption(pictures[:2], Path(folder) / "warm", url, model, 1)
        before = _cached_tokens(url)
        for turn in range(ROUNDS):
            start = 2 + turn * (count + few)
            worked = time.process_time()
            summary, bodies = _caption(
                pictures[start : start + count], Path(folder) / f"ours{turn}", url, model, width
            )
            busy += time.process_time() - worked
            ours, calls = ours + summary.seconds, calls + summary.calls
            tokens = [tokens[0] + summary.prompt_tokens, tokens[1] + summary.completion_tokens]
            found = [
                saturate(url, _as_strangers(bodies, salt), most, os.environ.get("OPENAI_API_KEY"))
                for salt, most in enumerate((width, 2 * width), 1)
            ]
            best = min(found, key=lambda one: one.seconds)
            limit += best.seconds
            again = [again[0] + best.prompt_tokens, again[1] + best.completion_tokens]
            summary, _ = _caption(
                pictures[start + count : start + count + few], Path(folder) / f"alone{turn}", url, model, 1
            )
            alone += summary.seconds / (few * ROUNDS)
        cached = _cached_tokens(url)
    per_picture = ours / (count * ROUNDS)
    facts: dict[str, Any] = {
        "pictures": count * ROUNDS,
        "concurrency": width,
        "pictures_per_second": 1 / per_picture,
        "calls_per_picture": calls / (count * ROUNDS),
        "prompt_tokens_per_picture": tokens[0] / (count * ROUNDS),
        "completion_tokens_per_picture": tokens[1] / (count * ROUNDS),
        "client_cpu_ms_per_call": 1000 * busy / calls,
        "tokens_sent_again": again,
        "tokens": tokens,
    }
    if before is not None and cached is not None:
        facts["prompt_tokens_from_prefix_cache"] = (cached[0] - before[0]) / (cached[1] - before[1])
    return [
        Ratio(
            f"captioning, {width} at once, against the server's limit (s a picture)",
            per_picture,
            limit / (count * ROUNDS),
            facts=facts,
        ),
        Ratio(f"captioning, {width} at once, against one by one (s a picture)", per_picture, alone),
    ]


def _caption(pictures: list[Path], out: Path, url: str, model: str, concurrency: int):  # type: ignore[no-untyped-def]
    """The summary of one run, and the bodies of the requests it made."""
    from ctgi.captioning.run import caption_pictures
    from ctgi.mllm.client import ChatClient

    bodies: list[dict[str, Any]] = []

    class Recording(ChatClient):
        async def _post(self, fields: dict[str, Any]) -> Any:
            bodies.append(fields)
            return await super()._post(fields)

    async def work():  # type: ignore[no-untyped-def]
        key = os.environ.get("OPENAI_API_KEY")
        async with Recording(url, model, api_key=key, concurrency=concurrency, timeout=300.0) as client:
            in_flight = 1 if concurrency == 1 else None
            return await caption_pictures(pictures, out, client, in_flight=in_flight)

    return asyncio.run(work()), bodies


def _as_strangers(bodies: Sequence[dict[str, Any]], salt: int) -> list[list[bytes]]:
    """The requests by picture, in the order they were made, each picture changed in one pixel's last bits."""
    dialogues: dict[str, list[bytes]] = {}
    changed: dict[str, str] = {}
    for body in bodies:
        url = body["messages"][1]["content"][0]["image_url"]["url"]
        if url not in changed:
            changed[url] = json.dumps(_one_pixel_off(url, salt))
        written = json.dumps(body).replace(json.dumps(url), changed[url])
        dialogues.setdefault(url, []).append(written.encode())
    return list(dialogues.values())


def _one_pixel_off(url: str, salt: int) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        pixels = np.array(picture.convert("RGB"))
    pixels[0, 0] ^= np.uint8(salt)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _cached_tokens(url: str) -> tuple[float, float] | None:
    """Prompt tokens found in the server's prefix cache, and all of them; None where it does not say."""
    try:
        with urllib.request.urlopen(
            url.removesuffix("/").removesuffix("/v1") + "/metrics", timeout=10
        ) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return None
    for cached, all_of_them in (
        ("chat_cached_prompt_tokens_total", "chat_prompt_tokens_total"),
        ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    ):
        found = [
            sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
            for name in (cached, all_of_them)
        ]
        if found[1]:
            return found[0], found[1]
    return None


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
