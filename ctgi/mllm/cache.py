"""Replies on disk, so that no question is paid for twice, kill -9 included.

SQLite in write-ahead mode: a reply is safe from the death of the process once :meth:`ReplyCache.put` returns,
and several processes may share one file. Only replies are kept: no picture, no prompt, no key.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from ctgi.mllm.chat import ChatReply, ChatRequest, Token

_SCHEMA = """CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, purpose TEXT NOT NULL, prompt_version TEXT NOT NULL,
    picture_id TEXT, reply TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID"""


def reply_key(model: str, request: ChatRequest) -> str:
    """SHA-256 over model, prompt version, picture id, messages and sampling parameters.

    In a request about one picture its bytes are replaced by the picture id, so a re-encoded copy is the same
    picture; several pictures, or one without an id, are told apart by a digest of what is sent.
    """
    pictures = sum(_is_picture(part) for message in request.messages for part in _parts(message))
    known = request.picture_id if pictures == 1 else None
    asked = {
        "model": model,
        "prompt_version": request.prompt_version,
        "picture_id": request.picture_id,
        "messages": [_without_bytes(message, known) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "choices": request.choices,
        "json_schema": request.json_schema,
        "logprobs": request.logprobs,
    }
    if request.alternatives:  # named only where it is wanted, so that older keys stay what they are
        asked["alternatives"] = True
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_picture(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url"


def _without_bytes(message: dict[str, Any], picture_id: str | None) -> dict[str, Any]:
    if not any(_is_picture(part) for part in _parts(message)):
        return message
    parts = [
        {"picture": picture_id or hashlib.sha256(part["image_url"]["url"].encode()).hexdigest()}
        if _is_picture(part)
        else part
        for part in _parts(message)
    ]
    return {**message, "content": parts}


def _read(text: Any) -> ChatReply | None:
    """The reply in a row; None where it was damaged."""
    try:
        data = json.loads(text)
        if data.get("tokens"):
            data["tokens"] = tuple(
                Token(token["text"], token["logprob"], tuple((text, p) for text, p in token["top"]))
                for token in data["tokens"]
            )
        reply = replace(ChatReply(**data), cached=True)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return reply if isinstance(reply.text, str) else None


def _remedy(error: sqlite3.Error | OSError) -> str:
    """What helps. Only a file that is no cache is given up: the replies in it were paid for."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "free some space and run again" if full else "name another place, or make this one writable"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the kind; higher bits hold the detail
    if code == sqlite3.SQLITE_FULL:
        return "free some space and run again"
    if code == sqlite3.SQLITE_IOERR:
        return "see that the disk has space and is sound, and run again"
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return "name another place, or make this one writable"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process holds it; run again when that is done"
    return "move the file away to start a new one"


class ReplyCache:
    """A file of replies by key. Raises CtgiError when the file is not a reply cache or cannot be written."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30.0, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute("SELECT key, reply FROM replies LIMIT 1").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise CtgiError(f"reply cache {self.path}: {error}; {_remedy(error)}") from error

    def get(self, key: str) -> ChatReply | None:
        """The stored reply, marked ``cached``, or None.

        A row that holds no reply is forgotten, so that the next one can take its place.
        """
        try:
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            reply = _read(row[0])
            if reply is None:
                self._db.execute("DELETE FROM replies WHERE key = ?", (key,))
            return reply
        except sqlite3.Error as error:
            raise CtgiError(f"reply cache {self.path}: {error}; {_remedy(error)}") from error

    def put(self, key: str, model: str, request: ChatRequest, reply: ChatReply) -> None:
        """Store a reply; a second one under the same key is ignored."""
        try:
            self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    model,
                    request.purpose,
                    request.prompt_version,
                    request.picture_id,
                    json.dumps(asdict(reply)),
                    time.time(),
                ),
            )
        except sqlite3.Error as error:  # a full disk: going on would pay for what cannot be kept
            raise CtgiError(f"reply cache {self.path}: {error}; free some space and run again") from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM replies").fetchone()[0])

    def close(self) -> None:
        """Close the file; replies are already on disk."""
        self._db.close()
