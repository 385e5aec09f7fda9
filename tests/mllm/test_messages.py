from __future__ import annotations

import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ctgi.errors import CtgiError
from ctgi.mllm.messages import as_data, judge_messages, media_type, picture_message


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 16), "red").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_picture_comes_first_and_unchanged(kind: str) -> None:
    data = encoded(kind)
    picture, text = picture_message(data, "What?")["content"]
    head, _, body = picture["image_url"]["url"].partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert base64.b64decode(body) == data
    assert text == {"type": "text", "text": "What?"}


def test_other_formats_are_refused() -> None:
    with pytest.raises(CtgiError, match="neither JPEG"):
        media_type(encoded("BMP"))


def test_judge_conversation() -> None:
    system, user = judge_messages(encoded("PNG"), "a man {in} red")
    assert system["role"] == "system"
    assert user["content"][1]["text"].startswith(
        "Does the person in the picture match this description? a man {in}"
    )


@given(st.text())
def test_no_text_closes_the_data_block(text: str) -> None:
    block = as_data({"query": text})
    assert "<" not in block
    assert json.loads(block) == {"query": text}
