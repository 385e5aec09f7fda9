from __future__ import annotations

import json

import pytest

from benchmarks.saturation import saturate
from ctgi.errors import CtgiError
from tests.chat_server import answer, chat_server, error, last_text

TURNS = ("Describe the person.", "What shoes are there?", "Is there a bag?")


def dialogue(number: int) -> list[bytes]:
    said: list[dict[str, str]] = []
    bodies = []
    for turn in TURNS:
        said.append({"role": "user", "content": f"{turn} ({number})"})
        bodies.append(json.dumps({"model": "small", "messages": list(said)}).encode())
    return bodies


def test_every_request_is_sent_unchanged_and_in_the_order_of_its_dialogue() -> None:
    dialogues = [dialogue(number) for number in range(5)]
    with chat_server() as server:
        found = saturate(server.url, dialogues, 3)
        assert sorted(server.raw) == sorted(body for one in dialogues for body in one)
        for number in range(5):
            mine = [last_text(body) for body in server.asked if last_text(body).endswith(f"({number})")]
            assert mine == [f"{turn} ({number})" for turn in TURNS]
        assert 1 < server.most_at_once <= 3
    assert (found.calls, found.prompt_tokens, found.completion_tokens) == (15, 1500, 150)
    assert found.seconds > 0


def test_a_server_that_fails_is_told() -> None:
    script = lambda body, number: error(500, "out of memory") if number == 2 else answer(body)  # noqa: E731
    with chat_server(script) as server, pytest.raises(CtgiError, match="500.*out of memory"):
        saturate(server.url, [dialogue(0), dialogue(1)], 1)
    with pytest.raises(CtgiError, match="is the server running"):
        saturate("http://127.0.0.1:9/v1", [dialogue(0)], 1)
