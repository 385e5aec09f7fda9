"""Captions written anew, and the captions of many shards as one set."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ctgi.captioning.composer import Composer
from ctgi.captioning.merge import merge_captions
from ctgi.captioning.reconstruct_file import read_transcripts, reconstruct_file
from ctgi.captioning.reconstructor import ChatReconstructor
from ctgi.captioning.transcript import Pair, Transcript, write_parquet
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient
from tests.chat_server import Reply, chat_server, completion


def row(number: int, caption: str = "A woman in red.", kept: int = 1) -> Transcript:
    pairs = tuple(
        Pair("upper", "What?", f"A red jacket {n}.", 0.9, n < kept, None if n < kept else "uncertain")
        for n in range(2)
    )
    return Transcript(
        picture_id=f"{number:064x}", path=f"{number}.png", identity=number, static_caption="A woman.",
        caption=caption, pairs=pairs, model="m", prompt_version="p@1", reconstructor="composer@1", calls=2,
        prompt_tokens=10, completion_tokens=5, seconds=0.1 * number,
    )  # fmt: skip


def shard(path: Path, *rows: Transcript) -> Path:
    write_parquet(path, rows)
    return path


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [row(1), row(2, kept=0)]
    assert read_transcripts(shard(tmp_path / "a", *rows)) == rows


def test_shards_become_one_set_ordered_by_picture(tmp_path: Path) -> None:
    one, two = shard(tmp_path / "a", row(3), row(1)), shard(tmp_path / "b", row(2))
    merged = merge_captions([one, two], tmp_path / "all")
    assert [caption.path for caption in read_pseudo_captions(tmp_path / "all")] == ["1.png", "2.png", "3.png"]
    assert merged.rows == 3 and merged.left_out == {}
    assert merge_captions([two, one], tmp_path / "again") == merged  # and does not depend on the order
    assert (tmp_path / "all").read_bytes() == (tmp_path / "again").read_bytes()


def test_what_says_too_little_is_left_out_and_counted(tmp_path: Path) -> None:
    path = shard(tmp_path / "a", row(1), row(2, caption="  "), row(3, kept=0), row(4, kept=2))
    merged = merge_captions([path, shard(tmp_path / "b", row(1))], tmp_path / "all", min_answers=1)
    assert [caption.path for caption in read_pseudo_captions(tmp_path / "all")] == ["1.png", "4.png"]
    assert merged.left_out == {"listed twice": 1, "no words": 1, "too few answers": 1}
    with pytest.raises(CtgiError, match="lower min_answers"):
        merge_captions([path], tmp_path / "none", min_answers=3)


def test_the_digest_is_of_what_is_said_and_of_nothing_else(tmp_path: Path) -> None:
    from dataclasses import replace

    def digest(*rows: Transcript) -> str:
        return merge_captions([shard(tmp_path / "a", *rows)], tmp_path / "all").digest

    before = digest(row(1), row(2))
    assert digest(row(1), replace(row(2), seconds=9.0, calls=7)) == before
    assert digest(row(1), row(2, caption="Another.")) != before
    assert digest(row(1)) != before


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet"])
def test_a_file_that_is_no_caption_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(CtgiError, match="broken"):
        merge_captions([tmp_path / "broken"], tmp_path / "all")
    with pytest.raises(CtgiError, match="gone"):
        read_transcripts(tmp_path / "gone")


def test_a_language_model_writes_every_caption_once(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        if number == 2:
            return Reply({"error": {"message": "no"}}, 400)
        return Reply(completion(f"Caption: written {len(json.dumps(body))}."))

    rows = [row(1), row(2, kept=2), row(3, kept=0)]
    source, cache = shard(tmp_path / "a", *rows), ReplyCache(tmp_path / "replies")

    async def write(url: str) -> int:
        async with ChatClient(url, "writer", cache=cache) as client:
            return await reconstruct_file(source, tmp_path / "b", ChatReconstructor(client), concurrency=1)

    with chat_server(script) as server:
        with pytest.raises(CtgiError):
            asyncio.run(write(server.url))
        assert not (tmp_path / "b").exists()
        assert asyncio.run(write(server.url)) == 3
        assert max(Counter(server.answered).values()) == 1 and len(server.answered) == 3
    written = read_transcripts(tmp_path / "b")
    assert all(one.caption.startswith("written ") for one in written)
    assert [one.picture_id for one in written] == [one.picture_id for one in rows]
    assert {one.reconstructor for one in written} == {
        ChatReconstructor(ChatClient("http://x/v1", "writer")).name
    }


def test_the_rules_write_what_the_run_itself_would(tmp_path: Path) -> None:
    source = shard(tmp_path / "a", row(1))
    asyncio.run(reconstruct_file(source, tmp_path / "b", Composer()))
    [written] = read_transcripts(tmp_path / "b")
    assert written.caption == asyncio.run(Composer().reconstruct(row(1).static_caption, row(1).pairs))
