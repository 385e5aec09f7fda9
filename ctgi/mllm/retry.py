"""When a failed call is tried again, and how long to wait before."""

from __future__ import annotations

import email.utils
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError
from ctgi.mllm.chat import Failure
from ctgi.mllm.reply import UnusableReply

#: A server that asks for a longer pause than this (seconds) is given up instead.
LONGEST_PAUSE = 120.0
#: Seconds for which a job that nobody waits for keeps trying: large models take minutes to start again.
PATIENCE = 300.0


def read_patience(environment: Mapping[str, str] = os.environ) -> float:
    """CTGI_CHAT_PATIENCE in seconds, else `PATIENCE`. Raises CtgiError where it is no number."""
    patience = environment.get("CTGI_CHAT_PATIENCE", str(PATIENCE))
    if not patience.replace(".", "", 1).isdecimal():
        raise CtgiError(f"CTGI_CHAT_PATIENCE={patience[:20]!r}: write a number of seconds")
    return float(patience)


@dataclass(frozen=True)
class Verdict:
    """What a failed try means: its kind, whether to try again, one line for people, the pause asked for."""

    kind: Failure
    again: bool
    reason: str
    retry_after: float | None = None


def judge_failure(error: Exception) -> Verdict:
    """Sort an exception of one try. 408, 409, 429, 5xx, timeouts and lost connections are worth another."""
    import openai

    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return Verdict("overloaded", True, "no reply in time")
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return Verdict("unreachable", True, f"no connection ({_one_line(str(cause))})")
    if isinstance(error, openai.APIStatusError):
        return _judge_status(error)
    if isinstance(error, (UnusableReply, openai.APIResponseValidationError)):
        return Verdict("overloaded", True, _one_line(str(error)))
    return Verdict("request", False, _one_line(f"{type(error).__name__}: {error}"))


def _judge_status(error: Any) -> Verdict:
    status = int(error.status_code)
    reason = _one_line(f"HTTP {status}: {said_by_server(error)}")
    if status in (401, 403, 404):
        return Verdict("refused", False, reason)
    if status == 429 and getattr(error, "code", None) == "insufficient_quota":
        return Verdict("refused", False, reason)
    if status in (408, 409, 429) or status >= 500:
        pause = retry_after(error.response.headers)
        return Verdict("overloaded", pause is None or pause <= LONGEST_PAUSE, reason, pause)
    return Verdict("request", False, reason)


def said_by_server(error: Any) -> str:
    """The message in an error's body, else the exception's own text."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if message:
            return str(message)
    return str(error)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait: ``retry-after-ms``, or ``retry-after`` as seconds or as a date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
    except ValueError:
        pass
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def pause_before(try_number: int, verdict: Verdict, base: float, rng: random.Random) -> float:
    """Seconds before try ``try_number`` (the first retry is 1): exponential from ``base``, at most 16 times
    it, half of it jitter, and never less than the server asked for."""
    backoff = base * min(16.0, 2.0 ** (try_number - 1)) * rng.uniform(0.5, 1.0)
    return max(backoff, verdict.retry_after or 0.0)


def _one_line(text: str, limit: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
