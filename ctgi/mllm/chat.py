"""What is asked of a chat model, what comes back, and how asking can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ctgi.errors import CtgiError
from ctgi.mllm.messages import Message

#: Why calls are made; the ledger's rows.
PURPOSES = ("describe", "answer", "reconstruct", "judge", "ask", "rewrite", "read")


@dataclass(frozen=True)
class Token:
    """One generated token: its text, log-probability, and the likeliest alternatives at its place."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ChatRequest:
    """One call.

    ``choices`` restricts the reply to one of a few texts; ``json_schema`` to JSON of that schema.
    ``deadline`` is in seconds over everything the call does: its wait for a slot, every try, every pause.
    ``picture_id`` stands for the picture's bytes in the cache key. With ``alternatives`` the reply keeps the
    tokens, each with what else might have stood there.
    """

    messages: tuple[Message, ...]
    purpose: str
    prompt_version: str
    picture_id: str | None = None
    max_tokens: int = 96
    temperature: float = 0.01
    choices: tuple[str, ...] | None = None
    json_schema: dict[str, Any] | None = None
    logprobs: bool = True
    alternatives: bool = False
    deadline: float | None = None


@dataclass(frozen=True)
class ChatReply:
    """One reply.

    ``probability`` is exp of the summed token log-probabilities of the text, end-of-text excluded; None where
    the server gave none. ``text`` is one of the choices where choices were given and one could be recognised,
    else what the model said. ``choice_probabilities`` are renormalised over the choices. ``seconds`` is the
    time of the successful try, also when the reply comes from the cache; ``finished`` is False when the text
    was cut at ``max_tokens``. ``tokens`` are there where the request wanted alternatives and the server gave
    log-probabilities.
    """

    text: str
    probability: float | None
    choice_probabilities: dict[str, float] | None
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cached: bool = False
    finished: bool = True
    tokens: tuple[Token, ...] | None = None


#: unreachable: no connection; refused: key, permission, model or quota; request: this request was not taken;
#: overloaded: 429, 5xx or timeouts to the end; deadline: time ran out.
Failure = Literal["unreachable", "refused", "request", "overloaded", "deadline"]


class ChatError(CtgiError):
    """A call that got no reply; ``kind`` says what a caller may do about it."""

    def __init__(self, message: str, kind: Failure) -> None:
        super().__init__(message)
        self.kind: Failure = kind
