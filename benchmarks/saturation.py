"""The most that a chat server gives for a set of dialogues: their requests, byte for byte, from a sender that
does next to nothing itself.

Requests are made and serialised beforehand, replies are kept and only read afterwards, connections stay open.
What is timed is the server.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ctgi.errors import CtgiError


@dataclass(frozen=True)
class Saturation:
    """Wall seconds over all dialogues and what the server said it had used."""

    seconds: float
    calls: int
    prompt_tokens: int
    completion_tokens: int


def saturate(
    url: str, dialogues: Sequence[Sequence[bytes]], width: int, key: str | None = None
) -> Saturation:
    """Send every dialogue's requests in their order, ``width`` dialogues at a time.

    Args:
        url: the server's OpenAI base URL.
        dialogues: for each picture, the bodies of its requests.

    Raises:
        CtgiError: a reply other than 200, or none.
    """
    return asyncio.run(_saturate(url, dialogues, width, key))


async def _saturate(
    url: str, dialogues: Sequence[Sequence[bytes]], width: int, key: str | None
) -> Saturation:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    head = f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
    head += f"Content-Type: application/json\r\nAuthorization: Bearer {key or 'EMPTY'}\r\nContent-Length: "
    left, replies = deque(dialogues), list[bytes]()

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=ssl.create_default_context() if secure else None
        )
        try:
            while left:
                for body in left.popleft():
                    writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
                    replies.append(await _reply(reader))
        finally:
            writer.close()

    started = time.perf_counter()
    try:
        await asyncio.gather(*(worker() for _ in range(min(width, len(dialogues)))))
    except (OSError, asyncio.IncompleteReadError) as error:
        raise CtgiError(f"{url}: the connection was lost ({error}); is the server running?") from error
    seconds = time.perf_counter() - started
    used = [json.loads(reply)["usage"] for reply in replies]
    return Saturation(
        seconds,
        len(replies),
        sum(usage["prompt_tokens"] for usage in used),
        sum(usage["completion_tokens"] for usage in used),
    )


async def _reply(reader: asyncio.StreamReader) -> bytes:
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    if b" 200 " not in lines[0]:
        raise CtgiError(f"the server answered {lines[0].decode('latin-1')}: {body[:200].decode('latin-1')}")
    return body
