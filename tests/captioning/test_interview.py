from __future__ import annotations

import asyncio
import hashlib
import io
import json
from typing import Any

import pytest
from PIL import Image

from ctgi.captioning.interview import Interview, interview, whole_sentences
from ctgi.captioning.pool import default_pool
from ctgi.mllm.client import ChatClient, ChatError
from tests.chat_server import ChatServer, Reply, answer, chat_server, completion, last_text


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 96), colour).save(buffer, "PNG")
    return buffer.getvalue()


def held(server: ChatServer, picture: bytes | None = None, **settings: Any) -> Interview:
    picture = picture or png()

    async def run() -> Interview:
        async with ChatClient(server.url, "small", backoff=0.01, retries=1) as client:
            key = hashlib.sha256(picture).hexdigest()
            return await interview(picture, key, client, default_pool(), **settings)

    return asyncio.run(run())


def test_six_rounds_about_what_is_not_known() -> None:
    with chat_server() as server:
        found = held(server)
    assert found.static_caption == "A woman in a red jacket and blue trousers."
    topics = [pair.topic for pair in found.pairs]
    assert len(topics) == 6 and topics[0] == "hair" and len(set(topics)) == 6
    assert not {"gender", "upper", "lower"} & set(topics)
    assert found.calls == len(server.asked) == 7
    assert (found.prompt_tokens, found.completion_tokens) == (700, 70)
    for pair in found.pairs:
        assert pair.question == default_pool().question(pair.topic).question
        assert pair.probability == pytest.approx(0.98 ** len(pair.answer.split()))
        assert pair.kept == (pair.reason is None)
    assert last_text(server.asked[1]) == f"{found.pairs[0].question} Answer in one short sentence."


def test_every_turn_begins_with_the_former_one_byte_for_byte() -> None:
    with chat_server() as server:
        held(server)
    messages = [raw[raw.index(b'"messages":[') :].split(b'],"max_tokens"')[0] for raw in server.raw]
    assert all(len(later) > len(former) for former, later in zip(messages, messages[1:], strict=False))
    for former, later in zip(messages, messages[1:], strict=False):
        assert later.startswith(former)
    first = server.asked[0]["messages"]
    assert [message["role"] for message in first] == ["system", "user"]
    assert [part["type"] for part in first[1]["content"]] == ["image_url", "text"]


def test_pairs_are_judged_as_they_come() -> None:
    replies = {"hair": "Cannot tell.", "shoes": "She wears a red jacket.", "bag": "No.", "a hat": "A cap.",
               "Describe": "A woman in a cap, red jacket, blue trousers."}  # fmt: skip

    def script(body: dict[str, Any], number: int) -> Reply:
        said = next((text for cue, text in replies.items() if cue in last_text(body)), "")
        return Reply(completion(said)) if said else answer(body)

    with chat_server(script) as server:
        reasons = {pair.topic: pair.reason for pair in held(server, rounds=13).pairs}
    assert reasons["hair"] == "uncertain"
    assert reasons["shoes"] == reasons["bag"] == "irrelevant"
    assert reasons["hat"] == "redundant"
    assert reasons["scarf"] is None


def test_an_interview_ends_when_nothing_is_left_to_ask() -> None:
    everything = (
        "A woman with long black hair, hatless, without glasses, bag or scarf, empty-handed, walking, in a "
        "plain red shirt with long sleeves and no logo, blue trousers and white boots."
    )
    with chat_server(lambda body, n: Reply(completion(everything))) as server:
        assert held(server).pairs == ()
    assert len(server.asked) == 1


def test_without_logprobs_there_is_no_probability() -> None:
    with chat_server(lambda body, n: Reply(completion("A woman in a red coat."))) as server:
        assert {pair.probability for pair in held(server).pairs} == {None}


@pytest.mark.parametrize("said", ["", "  \n", "..."])
def test_a_model_that_says_nothing(said: str) -> None:
    with (
        chat_server(lambda body, n: Reply(completion(said))) as server,
        pytest.raises(ChatError, match="nothing"),
    ):
        held(server)


def test_a_reply_that_was_cut_keeps_its_whole_sentences() -> None:
    assert whole_sentences("A man in red. He wears a 3.5 cm") == "A man in red."
    assert whole_sentences("A man in") == "A man in"

    def script(body: dict[str, Any], number: int) -> Reply:
        reply = completion("A man in a red coat. He is very")
        reply["choices"][0]["finish_reason"] = "length"
        return Reply(reply)

    with chat_server(script) as server:
        assert held(server, rounds=0).static_caption == "A man in a red coat."


def test_the_dialogue_repeats_what_the_model_said() -> None:
    with chat_server() as server:
        found = held(server)
    last = server.asked[-1]["messages"]
    said = [message["content"] for message in last if message["role"] == "assistant"]
    assert said == [found.static_caption, *(pair.answer for pair in found.pairs[:-1])]
    assert json.dumps(last).count("data:image/png") == 1
