from __future__ import annotations

import email.utils
import random
import time

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.mllm.reply import UnusableReply
from ctgi.mllm.retry import PATIENCE, Verdict, judge_failure, pause_before, read_patience, retry_after

REQUEST = httpx.Request("POST", "http://x/v1/chat/completions")


def status_error(status: int, body: object = None, headers: dict[str, str] | None = None) -> Exception:
    response = httpx.Response(status, request=REQUEST, headers=headers)
    return openai.APIStatusError("no", response=response, body=body)


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (TimeoutError(), "overloaded", True),
        (openai.APITimeoutError(REQUEST), "overloaded", True),
        (openai.APIConnectionError(request=REQUEST), "unreachable", True),
        (status_error(408), "overloaded", True),
        (status_error(429), "overloaded", True),
        (status_error(500), "overloaded", True),
        (status_error(503), "overloaded", True),
        (status_error(400), "request", False),
        (status_error(401), "refused", False),
        (status_error(404), "refused", False),
        (status_error(429, {"code": "insufficient_quota"}), "refused", False),
        (status_error(429, None, {"retry-after": "3600"}), "overloaded", False),
        (UnusableReply("html"), "overloaded", True),
        (ValueError("bug"), "request", False),
    ],
)
def test_verdicts(error: Exception, kind: str, again: bool) -> None:
    verdict = judge_failure(error)
    assert (verdict.kind, verdict.again) == (kind, again)
    assert "\n" not in verdict.reason


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after": "0.5"}) == 0.5
    assert retry_after({"retry-after": "-1"}) == 0.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "soon"}) is None
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(30, abs=2)


@given(st.integers(1, 12), st.floats(0.01, 2.0), st.none() | st.floats(0.0, 60.0))
def test_pauses_grow_are_bounded_and_never_before_the_time_asked_for(
    number: int, base: float, asked: float | None
) -> None:
    pause = pause_before(number, Verdict("overloaded", True, "", asked), base, random.Random(number))
    longest = base * min(16, 2 ** (number - 1))
    assert pause >= max(longest / 2, asked or 0.0)
    assert pause <= max(longest, asked or 0.0)


def test_patience_comes_from_the_environment() -> None:
    assert read_patience({}) == PATIENCE >= 120
    assert read_patience({"CTGI_CHAT_PATIENCE": "2.5"}) == 2.5
    for nonsense in ("", "soon", "-1", "1e9"):
        with pytest.raises(CtgiError, match="number of seconds"):
            read_patience({"CTGI_CHAT_PATIENCE": nonsense})
