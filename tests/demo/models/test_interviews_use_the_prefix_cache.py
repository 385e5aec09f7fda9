"""Captioning runs against the shipped model's own server: a picture is computed once for all its turns."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path

import pytest

from ctgi.captioning.run import caption_pictures
from ctgi.mllm.client import ChatClient
from demo.models.launch import QWEN2VL, running
from tests.chat_server import ChatServer, Reply, chat_server, completion

pytestmark = pytest.mark.slow
PICTURES = 4


def render(folder: Path) -> list[Path]:
    import numpy as np
    from PIL import Image

    from demo.pedestrians.attributes import sample_person
    from demo.pedestrians.camera import sample_view
    from demo.pedestrians.render import render

    rng = np.random.default_rng(5)
    paths = [folder / f"{number}.png" for number in range(PICTURES)]
    for path in paths:
        Image.fromarray(render(sample_person(rng), sample_view(rng))[0]).save(path)
    return paths


def counted(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=10) as page:
        return {
            name: float(value)
            for name, value in re.findall(r"^(chat_\w+_total) (\S+)$", page.read().decode(), re.MULTILINE)
        }


def caption(url: str, model: str, pictures: list[Path], out: Path):  # type: ignore[no-untyped-def]
    async def work():  # type: ignore[no-untyped-def]
        async with ChatClient(url, model, concurrency=PICTURES, timeout=120.0) as client:
            return await caption_pictures(pictures, out, client)

    return asyncio.run(work())


def test_side_by_side_interviews_compute_each_picture_once(tmp_path: Path) -> None:
    pictures = render(tmp_path)
    with running() as url:
        summary = caption(url, QWEN2VL.name, pictures, tmp_path / "out")
        count = counted(url)
    assert summary.captioned == PICTURES and summary.calls == 7 * PICTURES
    assert count["chat_pictures_encoded_total"] == PICTURES
    assert count["chat_prompt_tokens_total"] == summary.prompt_tokens
    # What is left to compute is about the last turn of each interview, a fifth of what was sent.
    assert count["chat_cached_prompt_tokens_total"] > 0.75 * summary.prompt_tokens


def test_the_server_sees_the_same_bytes_first_in_every_turn(tmp_path: Path) -> None:
    """The whole run, with interviews mixed: each request of a picture begins with all of its former one."""
    pictures = render(tmp_path)

    def script(body: dict, number: int) -> Reply:  # type: ignore[type-arg]
        return Reply(completion(f"A person, number {number}."), delay=0.005 * (number % 3))

    with chat_server(script) as server:
        caption(server.url, "small", pictures, tmp_path / "out")
    assert len(turns_by_picture(server)) == PICTURES
    for turns in turns_by_picture(server):
        assert len(turns) == 7
        for former, later in zip(turns, turns[1:], strict=False):
            assert later.startswith(former)


def turns_by_picture(server: ChatServer) -> list[list[bytes]]:
    """The bytes of the messages of every request, the closing bracket left off, in the order of arrival."""
    found: dict[bytes, list[bytes]] = {}
    for raw in server.raw:
        messages = raw[raw.index(b'"messages":[') :].split(b'],"max_tokens"')[0]
        system, url = messages.index(b'"role":"system"'), messages.index(b"data:image/")
        assert system < url < messages.index(b'"type":"text"')  # system, then picture, then the question
        found.setdefault(messages[url : messages.index(b'"', url)], []).append(messages)
    return list(found.values())
