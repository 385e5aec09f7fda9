"""Replies on disk, so that no question is paid for twice, kill -9 included.

SQLite in write-ahead mode: a reply is safe from the death of the process once :meth:`ReplyCache.put` returns,
and several processes may share one file. Only replies are kept: no picture, no prompt, no key.
"""

from __future__ import annotations

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
            raise CtgiError(
                f"reply cache {self.path}: {error}; move the file away to start a new one"
            ) from error

    def get(self, key: str) -> ChatReply | None:
        """The stored reply, marked ``cached``, or None."""
        row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        data = json.loads(row[0])
        if data.get("tokens"):
            data["tokens"] = tuple(
                Token(token["text"], token["logprob"], tuple((text, p) for text, p in token["top"]))
                for token in data["tokens"]
            )
        return replace(ChatReply(**data), cached=True)

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
