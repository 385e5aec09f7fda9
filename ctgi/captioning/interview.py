"""MTG: the interview of one picture (Sec. 3.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.transcript import Pair
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import Message, assistant_message, picture_message, system_message, user_message
from ctgi.mllm.prompt import Prompt


@dataclass(frozen=True)
class Interview:
    """T_s, the pairs in the order they were asked, and what the model needed for them."""

    static_caption: str
    pairs: tuple[Pair, ...]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def interview_version() -> str:
    """The versions of the prompts an interview uses."""
    return "+".join(Prompt.load(name).version for name in ("system", "describe", "answer"))


async def interview(
    picture: bytes,
    picture_id: str,
    client: ChatClient,
    pool: QuestionPool,
    *,
    pair_filter: PairFilter | None = None,
    rounds: int = 6,
    deadline: float | None = None,
) -> Interview:
    """Describe the picture (Eq. 1), then ask up to ``rounds`` questions, each about what is not known yet.

    ``picture`` is what the model is sent (JPEG or PNG bytes), ``deadline`` the seconds one call may take.
    The turns follow each other, and each repeats the former ones byte for byte, so that a server with prefix
    caching reads the picture once. Raises ChatError when a call fails or the model says nothing
    about the picture.
    """
    pair_filter = pair_filter or PairFilter(pool)
    version = interview_version()
    replies: list[ChatReply] = []
    dialogue: list[Message] = [
        system_message(),
        picture_message(picture, Prompt.load("describe").text),
    ]

    async def turn(purpose: str) -> str:
        request = ChatRequest(tuple(dialogue), purpose, version, picture_id, deadline=deadline)
        reply = await client.chat(request)
        replies.append(reply)
        dialogue.append(assistant_message(reply.text))
        return reply.text if reply.finished else whole_sentences(reply.text)

    static_caption = " ".join((await turn("describe")).split())
    if not re.search(r"\w", static_caption):
        raise ChatError("the model said nothing about the picture", "request")

    seed = int(picture_id[:12], 16)
    known, kept = static_caption, static_caption
    pairs: list[Pair] = []
    for _ in range(rounds):
        question = pool.next(known, [pair.topic for pair in pairs], seed)
        if question is None:
            break
        dialogue.append(user_message(Prompt.load("answer").fill(question=question.question)))
        answer = await turn("answer")
        probability = replies[-1].probability
        reason = pair_filter.reason(question, answer, probability, kept)
        pairs.append(Pair(question.topic, question.question, answer, probability, reason is None, reason))
        known = f"{known}\n{answer}"
        if reason is None:
            kept = f"{kept}\n{answer}"
    return Interview(
        static_caption,
        tuple(pairs),
        calls=len(replies),
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
        seconds=sum(reply.seconds for reply in replies),
    )


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last full stop (unchanged where it has none)."""
    ended = re.match(r".*[.!?](?=\s|$)", text, re.DOTALL)
    return ended.group() if ended else text
