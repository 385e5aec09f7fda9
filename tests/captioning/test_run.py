from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctgi.captioning.composer import Composer
from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import default_pool
from ctgi.captioning.progress import Progress
from ctgi.captioning.reconstructor import ChatReconstructor
from ctgi.captioning.run import PictureItem, caption_pictures
from ctgi.captioning.summary import CaptionSummary
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient
from tests.chat_server import ChatServer, Reply, answer, chat_server, completion, error, last_text


def pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (32, 96), (number, 100, 200)).save(path)
    return paths


def caption(
    server: ChatServer, items: Sequence[Any], out: Path, *, cache: bool = False, **settings: Any
) -> CaptionSummary:
    async def run() -> CaptionSummary:
        replies = ReplyCache(out / "replies.sqlite") if cache else None
        concurrency = settings.pop("concurrency", 4)
        async with ChatClient(
            server.url, "small", cache=replies, retries=1, backoff=0.01, concurrency=concurrency
        ) as client:
            return await caption_pictures(items, out, client, **settings)

    return asyncio.run(run())


def test_a_folder_becomes_a_pseudo_captioned_set(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 5)
    seen: list[tuple[int, int]] = []

    def show(progress: Progress) -> None:
        seen.append((progress.done, progress.calls))

    items = [PictureItem(path, identity=number) for number, path in enumerate(paths)]
    with chat_server() as server:
        summary = caption(server, items, tmp_path / "out", root=tmp_path / "p", progress=show)
    assert (summary.pictures, summary.captioned, summary.rows, summary.skipped) == (5, 5, 5, 0)
    assert summary.calls == len(server.asked) == 35
    assert summary.kept + sum(summary.dropped.values()) == 30
    assert seen[-1] == (5, 35) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    rows = read_pseudo_captions(summary.parquet)
    assert [(row.path, row.identity) for row in rows] == [(f"{n:03}.png", n) for n in range(5)]
    for row in rows:
        assert row.caption.startswith("A woman in a red jacket and blue trousers. She has long black hair")
        record = json.loads((tmp_path / "out" / "interviews" / f"{row.picture_id}.json").read_text())
        assert record["caption"] == row.caption and record["model"] == "small"
        assert record["prompt_version"] == "system@1+describe@1+answer@1"
        assert record["reconstructor"] == "composer@1" and record["calls"] == 7
    assert json.dumps(summary.as_dict())
    assert summary.ledger["total"]["calls"] == 35


def test_interviews_run_side_by_side_and_within_bounds(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        reply = answer(body)
        reply.delay = 0.05
        return reply

    with chat_server(script) as server:
        caption(server, pictures(tmp_path / "p", 12), tmp_path / "out", concurrency=4, rounds=2)
    assert 2 <= server.most_at_once <= 4


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 4)
    with chat_server() as server:
        caption(server, paths[:3], tmp_path / "out")
        before = len(server.asked)
        summary = caption(server, paths, tmp_path / "out")
        assert len(server.asked) - before == 7
    assert (summary.captioned, summary.resumed, summary.rows) == (1, 3, 4)


def test_another_recipe_is_made_anew_and_costs_only_what_is_new(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 2)
    with chat_server() as server:
        caption(server, paths, tmp_path / "out", cache=True, rounds=3)
        assert len(server.asked) == 8
        summary = caption(server, paths, tmp_path / "out", cache=True, rounds=5)
        assert len(server.asked) == 12 and summary.captioned == 2 and summary.cached == 8
        strict = PairFilter(default_pool(), min_probability=0.999)
        summary = caption(server, paths, tmp_path / "out", cache=True, rounds=5, pair_filter=strict)
        assert len(server.asked) == 12 and summary.kept == 0 and summary.dropped["uncertain"] == 10


def test_moved_and_renamed_pictures_keep_their_captions(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 1)
    with chat_server() as server:
        caption(server, paths, tmp_path / "out")
        moved = paths[0].rename(tmp_path / "p" / "other.png")
        summary = caption(server, [PictureItem(moved, 9)], tmp_path / "out", root=tmp_path / "p")
        assert len(server.asked) == 7
    (row,) = read_pseudo_captions(summary.parquet)
    assert (row.path, row.identity) == ("other.png", 9)


def test_the_same_bytes_are_captioned_once(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 2)
    copy = tmp_path / "p" / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    with chat_server() as server:
        summary = caption(server, [*paths, copy, paths[1]], tmp_path / "out")
    assert len(server.asked) == 14
    assert (summary.captioned, summary.duplicates, summary.rows) == (2, 2, 2)
    assert f"{copy}: the same bytes as {paths[0]}" in summary.report.read_text()


def test_bad_pictures_are_skipped_with_one_line_each(tmp_path: Path) -> None:
    (good,) = pictures(tmp_path / "p", 1)
    folder = tmp_path / "p"
    (folder / "text.jpg").write_text("hello")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes(good.read_bytes()[:50])
    (folder / "two\nlines.jpg").write_text("hello too")
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    bad = [
        "text.jpg",
        "empty.jpg",
        "cut.png",
        "two\nlines.jpg",
        "pixel.png",
        "gone.jpg",
        os.fsdecode(b"\xff.jpg"),
    ]
    with chat_server() as server:
        summary = caption(server, [*(folder / name for name in bad), good], tmp_path / "out")
    assert (summary.captioned, summary.skipped, summary.rows) == (1, len(bad), 1)
    lines = summary.report.read_text().splitlines()
    assert len(lines) == len(bad)
    for name in (
        "text.jpg",
        "empty.jpg",
        "cut.png",
        "two\\x0alines.jpg",
        "pixel.png",
        "gone.jpg",
        "\\xff.jpg",
    ):
        assert sum(f"p/{name}: " in line for line in lines) == 1


def test_a_picture_the_server_refuses_is_skipped_and_tried_again(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p", 3)
    refuse = True

    def script(body: dict[str, Any], number: int) -> Reply:
        return error(400, "image too strange") if refuse and number == 0 else answer(body)

    with chat_server(script) as server:
        summary = caption(server, paths, tmp_path / "out", concurrency=1)
        assert (summary.captioned, summary.skipped, summary.rows) == (2, 1, 2)
        assert "image too strange" in summary.report.read_text()
        refuse = False
        summary = caption(server, paths, tmp_path / "out")
    assert (summary.captioned, summary.resumed, summary.rows) == (1, 2, 3)
    assert summary.report.read_text() == ""


@pytest.mark.parametrize(("status", "most"), [(401, 8), (500, 40)])
def test_a_server_that_refuses_or_fails_ends_the_run(tmp_path: Path, status: int, most: int) -> None:
    paths = pictures(tmp_path / "p", 30)

    def script(body: dict[str, Any], number: int) -> Reply:
        return answer(body) if number < 14 else error(status)

    with chat_server(script) as server, pytest.raises(CtgiError, match="run again") as failure:
        caption(server, paths, tmp_path / "out", concurrency=2, in_flight=2)
    assert "2 pictures are done" in str(failure.value) and "\n" not in str(failure.value)
    assert len(server.asked) <= 14 + most
    with chat_server() as server:
        assert caption(server, paths[:4], tmp_path / "out").resumed == 2


def test_nothing_that_can_be_captioned_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with chat_server() as server:
        with pytest.raises(CtgiError, match="no pictures"):
            caption(server, [], tmp_path / "out")
        with pytest.raises(CtgiError, match="a.jpg"):
            caption(server, [tmp_path / "a.jpg"], tmp_path / "out")
        (tmp_path / "file").write_text("")
        with pytest.raises(CtgiError, match="cannot be written"):
            caption(server, [tmp_path / "a.jpg"], tmp_path / "file")


def test_a_chat_reconstructor_writes_and_is_accounted(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply(completion("A woman, all in one.")) if "<interview>" in last_text(body) else answer(body)

    async def run(server: ChatServer) -> CaptionSummary:
        async with ChatClient(server.url, "small") as client, ChatClient(server.url, "gpt-4o") as writer:
            return await caption_pictures(
                pictures(tmp_path / "p", 2),
                tmp_path / "out",
                client,
                reconstructor=ChatReconstructor(writer),
                rounds=1,
            )

    with chat_server(script) as server:
        summary = asyncio.run(run(server))
    assert {row.caption for row in read_pseudo_captions(summary.parquet)} == {"A woman, all in one."}
    assert summary.calls == len(server.asked) == 6
    assert summary.ledger["reconstruct"]["calls"] == 2


KILLED_RUN = """
import asyncio, sys
from pathlib import Path
from ctgi.captioning.run import caption_pictures
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient

async def main(url, folder, out):
    out = Path(out)
    async with ChatClient(url, "small", cache=ReplyCache(out / "replies.sqlite"), concurrency=4) as client:
        await caption_pictures(sorted(Path(folder).iterdir()), out, client)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("answers_before", [9, 40])
def test_kill_9_costs_nothing_twice(tmp_path: Path, answers_before: int) -> None:
    paths = pictures(tmp_path / "p", 10)
    out = tmp_path / "out"
    held = threading.Event()
    gate = threading.Event()

    def script(body: dict[str, Any], number: int) -> Reply:
        if number >= answers_before and not gate.is_set():
            held.set()
            gate.wait(60)  # the client is killed while it waits for this one
        return answer(body)

    with chat_server(script) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_RUN, server.url, str(paths[0].parent), str(out)]
        )
        assert held.wait(60)
        for _ in range(100):  # all that was answered has also arrived
            if len(server.answered) == answers_before:
                break
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        answered = list(server.answered)
        assert len(answered) == answers_before
        before = len(server.asked)
        gate.set()
        summary = caption(server, paths, out, cache=True)
        asked = [json.dumps(body["messages"], sort_keys=True) for body in server.asked[before:]]
    assert not set(answered) & set(asked)
    assert len(answered) + len(asked) == 70 and max(Counter(answered + asked).values()) == 1
    assert summary.rows == 10 and summary.captioned + summary.resumed == 10

    with chat_server() as server:
        whole = caption(server, paths, tmp_path / "whole")
    columns = [
        [(row.path, row.caption, row.pairs) for row in read_pseudo_captions(p.parquet)]
        for p in (summary, whole)
    ]
    assert columns[0] == columns[1]


def test_the_composer_is_the_default(tmp_path: Path) -> None:
    with chat_server() as server:
        caption(server, pictures(tmp_path / "p", 1), tmp_path / "out")
        summary = caption(
            server, pictures(tmp_path / "p", 1), tmp_path / "out", reconstructor=Composer(default_pool())
        )
    assert summary.resumed == 1
