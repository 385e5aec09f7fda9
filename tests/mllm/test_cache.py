from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache, reply_key
from ctgi.mllm.chat import ChatReply, ChatRequest
from ctgi.mllm.messages import picture_message, user_message

PNG = b"\x89PNG\r\n\x1a\n"
REQUEST = ChatRequest((picture_message(PNG + b"1", "What?"),), "answer", "answer@1", picture_id="p")
REPLY = ChatReply("A red cap.", 0.5, {"yes": 0.9, "no": 0.1}, 10, 3, 0.25)


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, prompt_version="answer@2"),
        replace(REQUEST, picture_id="q"),
        replace(REQUEST, messages=(picture_message(PNG + b"1", "Why?"),)),
        replace(REQUEST, messages=(*REQUEST.messages, user_message("And?"))),
        replace(REQUEST, max_tokens=7),
        replace(REQUEST, temperature=1.0),
        replace(REQUEST, choices=("yes", "no")),
        replace(REQUEST, json_schema={"type": "object"}),
        replace(REQUEST, logprobs=False),
    ],
)
def test_the_key_tells_requests_apart(other: ChatRequest) -> None:
    assert reply_key("m", other) != reply_key("m", REQUEST)


def test_the_key_is_about_the_question_only() -> None:
    key = reply_key("m", REQUEST)
    assert key != reply_key("n", REQUEST)
    assert key == reply_key("m", replace(REQUEST, messages=(picture_message(PNG + b"2", "What?"),)))
    assert key == reply_key("m", replace(REQUEST, deadline=3.0))


def test_pictures_without_an_id_or_several_are_told_apart_by_their_bytes() -> None:
    one, two = picture_message(PNG + b"1", "?"), picture_message(PNG + b"2", "?")
    unnamed = replace(REQUEST, picture_id=None)
    assert reply_key("m", replace(unnamed, messages=(one,))) != reply_key(
        "m", replace(unnamed, messages=(two,))
    )
    assert reply_key("m", replace(REQUEST, messages=(one, one))) != reply_key(
        "m", replace(REQUEST, messages=(one, two))
    )


def test_replies_come_back_marked(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "a" / "replies.sqlite")
    key = reply_key("m", REQUEST)
    assert cache.get(key) is None
    cache.put(key, "m", REQUEST, REPLY)
    cache.put(key, "m", REQUEST, replace(REPLY, text="other"))
    assert len(cache) == 1
    cache.close()
    assert ReplyCache(tmp_path / "a" / "replies.sqlite").get(key) == replace(REPLY, cached=True)


def test_a_reply_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    code = (
        "import sys, time\n"
        "from ctgi.mllm.cache import ReplyCache\n"
        "from ctgi.mllm.chat import ChatReply, ChatRequest\n"
        "cache = ReplyCache(sys.argv[1])\n"
        "cache.put('k', 'm', ChatRequest((), 'answer', 'answer@1'), ChatReply('hi', None, None, 1, 1, 0.0))\n"
        "print('put', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdout is not None and process.stdout.readline() == b"put\n"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    found = ReplyCache(path).get("k")
    assert found is not None and found.text == "hi"


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"this is not a database, and long enough to be taken for one" * 20)
    with pytest.raises(CtgiError, match="replies.sqlite"):
        ReplyCache(path)


@pytest.mark.parametrize("row", ["{", "[1]", "null", '{"text": "half a"}', '{"tokens": [1]}'])
def test_a_damaged_row_is_as_good_as_none_and_gives_way(tmp_path: Path, row: str) -> None:
    path = tmp_path / "replies.sqlite"
    cache, key = ReplyCache(path), reply_key("m", REQUEST)
    cache.put(key, "m", REQUEST, REPLY)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE replies SET reply = ?", (row,))
    other.close()
    assert cache.get(key) is None
    cache.put(key, "m", REQUEST, REPLY)
    assert cache.get(key) == replace(REPLY, cached=True)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_FULL, "free some space"),
        (sqlite3.SQLITE_IOERR_WRITE, "has space"),
        (sqlite3.SQLITE_CANTOPEN, "name another place"),
        (sqlite3.SQLITE_BUSY, "another process"),
        (sqlite3.SQLITE_NOTADB, "move the file away"),
    ],
)
def test_paid_replies_are_given_up_only_where_the_file_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("no")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(CtgiError, match=remedy) as refused:
        ReplyCache(tmp_path / "replies.sqlite")
    assert ("move the file away" in str(refused.value)) == (code == sqlite3.SQLITE_NOTADB)


def test_a_place_that_is_no_folder_is_not_to_be_moved_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(CtgiError, match="name another place"):
        ReplyCache(tmp_path / "file" / "replies.sqlite")
