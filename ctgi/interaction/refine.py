"""Step 2 of MTI: ask the anchor about what the query leaves out (Eq. 5) and refine the query (Eq. 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.questions import Question
from ctgi.captioning.reconstructor import ChatReconstructor, Reconstructor
from ctgi.captioning.transcript import Pair
from ctgi.errors import CtgiError
from ctgi.interaction.asking import Asker
from ctgi.interaction.budget import BudgetSpent
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import picture_message, system_message
from ctgi.mllm.prompt import Prompt


def missing_questions(
    pool: QuestionPool, known: str, asked: Sequence[Pair], most: int
) -> tuple[Question, ...]:
    """The diagnostic set {c_i}: what `known` leaves out and nobody has asked yet, most telling first."""
    topics = {pair.topic for pair in asked}
    return tuple(question for question in pool.missing(known) if question.topic not in topics)[:most]


async def ask_anchor(
    asker: Asker,
    picture: bytes,
    picture_id: str,
    questions: Sequence[Question],
    known: str,
    pair_filter: PairFilter,
    pairs: list[Pair],
) -> None:
    """Eq. 5 as one wave of short calls (docs/adr/0001); the pairs are appended to `pairs` in question order.

    `known` is what the query and the answers kept so far say; each answer goes through MTG's pair filter. A
    question that fails is left out. Raises BudgetSpent where the budget cut the wave short, after its
    finished answers have been kept, and the last failure where none of the questions was answered.
    """
    calls = [asker.chat(_request(picture, picture_id, question)) for question in questions]
    replies = await asyncio.gather(*calls, return_exceptions=True)
    failures: list[BaseException] = []
    for question, answer in zip(questions, replies, strict=True):
        if isinstance(answer, BaseException):
            failures.append(answer)
            continue
        reason = pair_filter.reason(question, answer.text, answer.probability, known)
        pairs.append(
            Pair(question.topic, question.question, answer.text, answer.probability, reason is None, reason)
        )
        if reason is None:
            known = f"{known}\n{answer.text}"
    for failure in failures:
        if isinstance(failure, BudgetSpent) or not isinstance(failure, CtgiError):
            raise failure
    if failures and len(failures) == len(questions):
        raise failures[-1]


def asks_a_model(reconstructor: Reconstructor) -> bool:
    """Whether writing costs a call."""
    return isinstance(reconstructor, ChatReconstructor)


def within(reconstructor: Reconstructor, asker: Asker) -> Reconstructor:
    """The reconstructor with its calls counted in, and limited by, the budget of one search."""
    if not isinstance(reconstructor, ChatReconstructor):
        return reconstructor
    counted = Asker(reconstructor.client, asker.budget)
    return ChatReconstructor(cast(ChatClient, counted))


def _request(picture: bytes, picture_id: str, question: Question) -> ChatRequest:
    prompt = Prompt.load("answer")
    messages = system_message(), picture_message(picture, prompt.fill(question=question.question))
    return ChatRequest(messages, "answer", f"{Prompt.load('system').version}+{prompt.version}", picture_id)
