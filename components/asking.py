"""A step's connection to a chat model: nothing that was answered in the step's folder is asked again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctgi.mllm.client import ChatClient

VISION_KEY = "OPENAI_API_KEY"
RECONSTRUCTOR_KEY = "CTGI_RECONSTRUCTOR_KEY"
"""The Reconstructor's own key; without it `VISION_KEY` serves both models."""


def api_key(name: str = VISION_KEY) -> str | None:
    """The key that this environment variable holds."""
    return os.environ.get(name) or os.environ.get(VISION_KEY)


@asynccontextmanager
async def asking(
    place: Path, server: str, model: str, concurrency: int, *, key: str = VISION_KEY
) -> AsyncIterator[ChatClient]:
    """A client with the replies kept in `place`, and with the patience of a step: a server that restarts is
    waited for (CTGI_CHAT_PATIENCE). `key` names the environment variable that holds the API key."""
    from ctgi.mllm.cache import ReplyCache
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.retry import read_patience

    cache = ReplyCache(place / "replies.sqlite")
    try:
        async with ChatClient(
            server,
            model,
            api_key=api_key(key),
            concurrency=concurrency,
            cache=cache,
            patience=read_patience(),
        ) as client:
            yield client
    finally:
        cache.close()
