from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from PIL import Image

from ctgi.captioning.composer import Composer
from ctgi.captioning.estimate import Prices, estimate_captioning, picture_tokens
from ctgi.captioning.reconstructor import ChatReconstructor
from ctgi.captioning.run import caption_pictures
from ctgi.mllm.client import ChatClient
from tests.chat_server import chat_server


def pictures(folder: Path, count: int, size: tuple[int, int] = (128, 384)) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", size, (number, 0, 0)).save(path)
    return paths


def test_picture_tokens() -> None:
    assert picture_tokens(84, 252) == 27  # the small model's own size
    assert picture_tokens(128, 384) == 70
    assert picture_tokens(1, 1) == 4
    assert picture_tokens(6000, 12000) == math.ceil(640 / 28) * math.ceil(1280 / 28)


def test_calls_tokens_and_cost(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 10)
    found = estimate_captioning([*paths, paths[0], tmp_path / "gone"], tmp_path / "out", rounds=6)
    assert (found.pictures, found.todo, found.calls) == (12, 10, {"describe": 10, "answer": 60})
    assert found.cost is None and not found.measured
    # every turn sends the picture again: 7 turns of 70 tokens are the least
    assert found.prompt_tokens > 10 * 7 * 70
    assert 10 * 50 < found.completion_tokens < 10 * 300
    priced = estimate_captioning(paths, tmp_path / "out", prices=Prices(2.0, 10.0))
    assert priced.cost == pytest.approx(
        (priced.prompt_tokens * 2 + priced.completion_tokens * 10) / 1e6, rel=1e-3
    )


def test_more_rounds_and_larger_pictures_cost_more(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)
    small = estimate_captioning(paths, tmp_path / "out", rounds=2)
    assert estimate_captioning(paths, tmp_path / "out", rounds=6).prompt_tokens > 2 * small.prompt_tokens
    assert estimate_captioning(paths, tmp_path / "out", rounds=99).calls["answer"] == 3 * 13
    (tmp_path / "large").mkdir()
    large = pictures(tmp_path / "large", 3, (640, 1280))
    assert estimate_captioning(large, tmp_path / "out", rounds=2).prompt_tokens > 3 * small.prompt_tokens


def test_a_chat_reconstructor_is_one_more_call(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)
    writer = ChatReconstructor(ChatClient("http://x/v1", "gpt-4o"))
    found = estimate_captioning(
        paths, tmp_path / "out", reconstructor=writer, reconstructor_prices=Prices(2.5, 10.0)
    )
    assert found.calls["reconstruct"] == 3 and found.cost is not None and found.cost > 0
    offline = estimate_captioning(paths, tmp_path / "out", reconstructor=Composer())
    assert "reconstruct" not in offline.calls


def test_what_is_done_is_taken_off_and_measured(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 4)

    async def run(url: str) -> None:
        async with ChatClient(url, "small") as client:
            await caption_pictures(paths[:1], tmp_path / "out", client)

    with chat_server() as server:
        asyncio.run(run(server.url))
    found = estimate_captioning(paths, tmp_path / "out")
    assert (found.todo, found.measured) == (3, True)
    # the scripted server counts 100 tokens in and 10 out for each of the 7 calls
    assert (found.prompt_tokens, found.completion_tokens) == (3 * 700, 3 * 70)
    assert estimate_captioning(paths, tmp_path / "out", recipe="another").todo == 4
    assert estimate_captioning(paths, tmp_path / "out", model="small").measured
    other, none = (
        estimate_captioning(paths, folder, recipe="another", model="large")
        for folder in (tmp_path / "out", tmp_path / "nothing")
    )
    assert other == none and not other.measured  # another model's tokens tell nothing
