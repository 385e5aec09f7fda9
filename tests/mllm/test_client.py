"""The client against a server with a script: protocol behaviour, not answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.client import ChatClient, ChatError, ChatReply, ChatRequest
from ctgi.mllm.messages import user_message
from tests.chat_server import ChatServer, Reply, chat_server, completion, error

Script = Callable[[dict[str, Any], int], Reply]
OK = Reply(completion("hello", [("hello", 0.5)]))


def ask(text: str = "hi", **more: Any) -> ChatRequest:
    return ChatRequest((user_message(text),), more.pop("purpose", "answer"), "answer@1", **more)


def first(*replies: Reply) -> Script:
    """These replies one after another, then OK."""
    return lambda body, number: replies[number] if number < len(replies) else OK


def talk(server: ChatServer, *requests: ChatRequest, **settings: Any) -> tuple[list[Any], ChatClient]:
    """Send all requests at once; exceptions are results."""

    async def run() -> tuple[list[Any], ChatClient]:
        client = ChatClient(server.url, "small", backoff=0.01, **settings)
        async with client:
            return await asyncio.gather(*map(client.chat, requests), return_exceptions=True), client

    return asyncio.run(run())


def test_what_is_sent_and_what_comes_back() -> None:
    with chat_server(first(OK)) as server:
        (reply,), client = talk(server, ask(max_tokens=7), api_key="secret")
    (body,) = server.asked
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "temperature": 0.01,
        "logprobs": True,
        "top_logprobs": 5,
    }
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert isinstance(reply, ChatReply)
    assert (reply.text, reply.probability) == ("hello", pytest.approx(0.5))
    assert client.ledger.as_dict()["answer"]["calls"] == 1
    assert client.ledger.total().prompt_tokens == 100


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_trouble_that_passes_is_waited_out(status: int) -> None:
    with chat_server(first(error(status), error(status))) as server:
        (reply,), client = talk(server, ask())
    assert reply.text == "hello"
    account = client.ledger.account("answer")
    assert (len(server.asked), account.calls, account.retries, account.failures) == (3, 1, 2, 0)


def test_retry_after_is_honoured_by_every_request() -> None:
    with chat_server(first(error(429, headers={"retry-after": "0.4"}))) as server:
        (one, two), _ = talk(server, ask("a"), ask("b"), concurrency=1)
    assert one.text == two.text == "hello"
    assert min(server.times[1:]) - server.times[0] >= 0.39


def test_a_server_that_never_recovers_is_given_up() -> None:
    with chat_server(lambda body, number: error(500, "out of memory\n" * 50)) as server:
        (failure,), client = talk(server, ask(), retries=2)
    assert isinstance(failure, ChatError) and failure.kind == "overloaded"
    assert "HTTP 500" in str(failure) and "3 tries" in str(failure) and "\n" not in str(failure)
    assert (len(server.asked), client.ledger.account("answer").failures) == (3, 1)


def test_patience_goes_on_after_the_retries_for_so_many_seconds() -> None:
    began = time.monotonic()

    def restarting(body: dict[str, Any], number: int) -> Reply:
        return error(503) if time.monotonic() - began < 0.5 else OK

    with chat_server(restarting) as server:
        (reply,), _ = talk(server, ask(), retries=1, patience=20.0)
        assert reply.text == "hello" and 5 < len(server.asked) < 60  # the pauses are at most 0.16 s
    with chat_server(lambda body, number: error(503)) as server:
        began = time.monotonic()
        (failure,), _ = talk(server, ask(), retries=1, patience=0.5)
        assert 0.5 <= time.monotonic() - began < 2.0
    assert isinstance(failure, ChatError) and failure.kind == "overloaded"


def test_patience_is_not_for_what_will_not_pass() -> None:
    with chat_server(lambda body, number: error(404)) as server:
        (failure,), _ = talk(server, ask(), patience=20.0)
    assert isinstance(failure, ChatError) and failure.kind == "refused" and len(server.asked) == 1


def test_patience_can_be_kept_for_a_server_that_has_answered() -> None:
    with chat_server(lambda body, number: error(503)) as server:
        (failure,), _ = talk(server, ask(), retries=1, patience=20.0, answered_first=True)
        assert isinstance(failure, ChatError) and len(server.asked) == 2

    with chat_server(first(OK, *(error(503) for _ in range(5)))) as server:

        async def one_after_another() -> list[ChatReply]:
            settings: dict[str, Any] = {"retries": 1, "patience": 20.0, "answered_first": True}
            async with ChatClient(server.url, "small", backoff=0.01, **settings) as client:
                return [await client.chat(ask("a")), await client.chat(ask("b"))]

        assert [reply.text for reply in asyncio.run(one_after_another())] == ["hello", "hello"]


@pytest.mark.parametrize(
    ("status", "ending", "asked"),
    [(404, "", True), (404, "/", True), (404, "/v1", False), (404, "/v1/", False), (401, "", False)],
)
def test_an_address_without_v1_is_asked_about(status: int, ending: str, asked: bool) -> None:
    async def failure(url: str) -> str:
        async with ChatClient(url, "small") as client:
            with pytest.raises(ChatError) as caught:
                await client.chat(ask())
            return str(caught.value)

    with chat_server(lambda body, number: error(status)) as server:
        said = asyncio.run(failure(server.url.removesuffix("/v1") + ending))
    assert ("should the address end in /v1?" in said) == asked and "the model's name" in said


def test_a_long_wait_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with chat_server(first(*(error(503) for _ in range(6)))) as server:
        replies, _ = talk(server, *(ask(str(number)) for number in range(4)), patience=60.0)
    assert all(reply.text == "hello" for reply in replies)
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url}: HTTP 503: no; trying again for up to 60 s"
    ]


@pytest.mark.parametrize(("status", "kind"), [(400, "request"), (401, "refused"), (404, "refused")])
def test_what_will_not_pass_is_not_tried_again(status: int, kind: str) -> None:
    with chat_server(lambda body, number: error(status)) as server:
        (failure,), _ = talk(server, ask(), api_key="secret")
    assert isinstance(failure, ChatError) and failure.kind == kind
    assert len(server.asked) == 1 and "secret" not in str(failure)


def test_a_try_that_takes_too_long_is_made_again() -> None:
    with chat_server(lambda body, number: Reply(OK.body, delay=1.0 if number == 0 else 0.0)) as server:
        (reply,), client = talk(server, ask(), timeout=0.2)
    assert reply.text == "hello" and client.ledger.account("answer").retries == 1


def test_the_deadline_rules_over_retries_and_waiting() -> None:
    with chat_server(lambda body, number: Reply(OK.body, delay=0.5)) as server:
        started = time.monotonic()
        replies, client = talk(server, *(ask(str(n), deadline=0.7) for n in range(3)), concurrency=1)
        assert time.monotonic() - started < 1.0
    assert [isinstance(reply, ChatError) for reply in replies] == [False, True, True]
    assert {reply.kind for reply in replies[1:]} == {"deadline"}
    assert client.ledger.account("answer").failures == 2


def test_no_pause_that_ends_after_the_deadline() -> None:
    with chat_server(lambda body, number: error(429, headers={"retry-after": "30"})) as server:
        started = time.monotonic()
        (failure,), _ = talk(server, ask(deadline=5.0))
        assert time.monotonic() - started < 2.0
    assert isinstance(failure, ChatError) and failure.kind == "deadline"


def test_nobody_there() -> None:
    with chat_server() as server:
        url = server.url

    async def run() -> None:
        async with ChatClient(url, "small", retries=1, backoff=0.01) as client:
            await client.chat(ask())

    with pytest.raises(ChatError, match="no connection") as failure:
        asyncio.run(run())
    assert failure.value.kind == "unreachable" and isinstance(failure.value, CtgiError)


def test_a_page_instead_of_a_completion_is_tried_again() -> None:
    with chat_server(first(Reply("<html>busy</html>"), Reply({"choices": []}))) as server:
        (reply,), client = talk(server, ask())
    assert reply.text == "hello" and client.ledger.account("answer").retries == 2


def test_never_more_than_so_many_at_once() -> None:
    with chat_server(lambda body, number: Reply(OK.body, delay=0.03)) as server:
        replies, _ = talk(server, *(ask(str(n)) for n in range(16)), concurrency=3)
    assert all(reply.text == "hello" for reply in replies)
    assert server.most_at_once == 3


def test_choices_are_constrained_by_the_server() -> None:
    top = [[("yes", 0.9), ("no", 0.1)]]
    with chat_server(first(Reply(completion("yes", [("yes", 0.9)], top)))) as server:
        (reply,), _ = talk(server, ask(choices=("yes", "no"), purpose="judge"))
    assert server.asked[0]["structured_outputs"] == {"choice": ["yes", "no"]}
    assert reply.choice_probabilities == pytest.approx({"yes": 0.9, "no": 0.1})


def test_a_server_that_ignores_the_choices() -> None:
    with chat_server(
        first(Reply(completion("No, he wears blue.")), Reply(completion("Hard to say.")))
    ) as server:
        (reply,), _ = talk(server, ask(choices=("yes", "no")))
        (other,), _ = talk(server, ask(choices=("yes", "no")))
    assert (reply.text, reply.choice_probabilities) == ("no", None)
    assert other.text == "Hard to say."


def test_what_a_server_does_not_know_is_left_out_from_then_on() -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        for name in ("structured_outputs", "logprobs"):
            if name in body:
                return error(400, f"Unrecognized request argument supplied: {name}")
        if "max_tokens" in body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return Reply(completion("Yes."))

    async def run(url: str) -> list[ChatReply]:
        async with ChatClient(url, "small", backoff=0.01) as client:
            request = ask(choices=("yes", "no"))
            return [await client.chat(request), await client.chat(request)]

    with chat_server(script) as server:
        replies = asyncio.run(run(server.url))
    assert [reply.text for reply in replies] == ["yes", "yes"]
    assert len(server.asked) == 5  # three concessions, then two calls
    assert set(server.asked[-1]) == {"model", "messages", "temperature", "max_completion_tokens"}


def test_a_json_schema_is_sent() -> None:
    with chat_server(first(Reply(completion("{}")))) as server:
        talk(server, ask(json_schema={"type": "object"}, purpose="read", logprobs=False))
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "logprobs" not in server.asked[0]


def test_an_answered_question_is_never_sent_again(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    with chat_server(lambda body, number: Reply(OK.body, delay=0.05)) as server:
        replies, client = talk(server, ask("a"), ask("a"), ask("a"), ask("b"), cache=cache)
        again, _ = talk(server, ask("a"), ask("b"), cache=ReplyCache(tmp_path / "replies.sqlite"))
    assert len(server.asked) == 2
    assert sorted(reply.cached for reply in replies) == [False, False, True, True]
    assert all(reply.cached and reply.text == "hello" for reply in again)
    account = client.ledger.account("answer")
    assert (account.calls, account.cached) == (2, 2)


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    with chat_server(first(error(400))) as server:
        cache = ReplyCache(tmp_path / "replies.sqlite")
        (failure,), _ = talk(server, ask(), cache=cache)
        (reply,), _ = talk(server, ask(), cache=cache)
    assert isinstance(failure, ChatError) and reply.text == "hello"


@pytest.mark.parametrize("settings", [{"base_url": "localhost:8000"}, {"concurrency": 0}, {"timeout": 0.0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CtgiError):
        ChatClient(**{"base_url": "http://x/v1", "model": "m", **settings})
