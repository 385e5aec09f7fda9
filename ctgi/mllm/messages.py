"""Chat messages in the OpenAI shape.

The picture comes before the text and its bytes are the same in every turn, so that a server with prefix
caching (vLLM) computes the picture's tokens once for a whole interview.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ctgi.errors import CtgiError
from ctgi.mllm.prompt import Prompt

Message = dict[str, Any]


def system_message() -> Message:
    """The message every conversation about a picture begins with (prompt ``system``)."""
    return {"role": "system", "content": Prompt.load("system").text}


def user_message(text: str) -> Message:
    """A later turn of the asking side: plain text."""
    return {"role": "user", "content": text}


def assistant_message(text: str) -> Message:
    """What the model said, given back to it word for word."""
    return {"role": "assistant", "content": text}


def picture_message(picture: bytes, text: str) -> Message:
    """A user's turn that shows a picture (JPEG, PNG, WebP or GIF bytes, sent unchanged) and then asks."""
    url = f"data:{media_type(picture)};base64,{base64.b64encode(picture).decode('ascii')}"
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}],
    }


def judge_messages(picture: bytes, description: str) -> tuple[Message, ...]:
    """The conversation of MTI's step 1: system, then the picture and the judge's question."""
    return system_message(), picture_message(picture, Prompt.load("judge").fill(description=description))


def media_type(picture: bytes) -> str:
    """The media type told by the first bytes; CtgiError for a format chat servers do not take."""
    if picture.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    if picture[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    raise CtgiError("picture: neither JPEG, PNG, WebP nor GIF; convert it before it is sent to a chat model")


def as_data(value: object) -> str:
    """JSON for the data block of a text-only prompt.

    ``<`` is escaped, so no text can close the block's mark and go on as an instruction.
    """
    return json.dumps(value, ensure_ascii=False, indent=1).replace("<", "\\u003c")
