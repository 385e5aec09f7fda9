"""Step 2 of MTI: ask the anchor about what the query leaves out (Eq. 5) and refine the query (Eq. 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import cast

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.questions import Question
from ctgi.captioning.reconstructor import ChatReconstructor, Reconstructor
from ctgi.captioning.transcript import Pair
from ctgi.errors import CtgiError
from ctgi.interaction.asking import Asker, ModelGone
from ctgi.interaction.budget import Budget, BudgetSpent
from ctgi.interaction.dossier import Answer
from ctgi.interaction.memory import Memory
from ctgi.interaction.questions import in_order_of_worth
from ctgi.mllm.chat import ChatReply, ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import picture_message, system_message
from ctgi.mllm.prompt import Prompt

Ask = Callable[[Question], Awaitable[ChatReply]]
Rewrite = Callable[[Sequence[Pair]], Awaitable[str]]


def missing_questions(
    pool: QuestionPool,
    known: str,
    asked: Sequence[Pair],
    most: int,
    worths: Mapping[str, float] | None = None,
) -> tuple[Question, ...]:
    """The diagnostic set {c_i}: what `known` leaves out and nobody has asked yet, most telling first.

    The pool knows what is telling in general; `worths`, topic -> expected information, what tells these
    candidates apart.
    """
    topics = {pair.topic for pair in asked}
    left = {question.topic: question for question in pool.missing(known) if question.topic not in topics}
    order = list(left) if worths is None else in_order_of_worth(list(left), worths)
    return tuple(left[topic] for topic in order)[:most]


def live_anchor(asker: Asker, picture: bytes, picture_id: str, memory: Memory) -> Ask:
    """The anchor, shown to the chat model."""

    async def ask(question: Question) -> ChatReply:
        request = partial(_request, picture, picture_id, question)
        return await memory.awaited(("ask", picture_id, question), lambda: asker.chat(request()))

    return ask


async def ask_anchor(
    ask: Ask,
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
    replies = await asyncio.gather(*map(ask, questions), return_exceptions=True)
    failures: list[BaseException] = []
    for question, answer in zip(questions, replies, strict=True):
        if isinstance(answer, BaseException):
            failures.append(answer)
            continue
        known = _keep(question, answer.text, answer.probability, known, pair_filter, pairs)
    for failure in failures:
        if isinstance(failure, BudgetSpent) or not isinstance(failure, CtgiError):
            raise failure
    if failures and len(failures) == len(questions):
        raise failures[-1]


def recall(
    answers: Sequence[Answer],
    questions: Sequence[Question],
    known: str,
    pair_filter: PairFilter,
) -> list[Pair]:
    """Eq. 5 without a call: the questions are answered by what the anchor said when it was enrolled, through
    the same filter."""
    by_topic = {answer.topic: answer for answer in answers}
    pairs: list[Pair] = []
    for question in questions:
        answer = by_topic.get(question.topic)
        if answer is not None:
            known = _keep(question, answer.text, answer.probability, known, pair_filter, pairs)
    return pairs


async def rewrite_all(rewrite: Rewrite, query: str, interviews: Sequence[Sequence[Pair]]) -> list[str | None]:
    """Eq. 6 for every anchor at once; None where nothing new was said, or writing failed for this one.

    `rewrite` gets the kept pairs of one interview. Raises the first failure where all failed.
    """
    kept = [[pair for pair in pairs if pair.kept] for pairs in interviews]
    written = await asyncio.gather(*map(rewrite, kept), return_exceptions=True)
    failures = [text for text in written if isinstance(text, BaseException)]
    for failure in failures:
        expected = isinstance(failure, CtgiError | BudgetSpent | ModelGone)
        if not expected or len(failures) == len(written):
            raise failure
    return [text if isinstance(text, str) and text.strip() != query.strip() else None for text in written]


def _keep(
    question: Question,
    text: str,
    probability: float | None,
    known: str,
    pair_filter: PairFilter,
    pairs: list[Pair],
) -> str:
    """Append the pair as the filter judges it; what is known with it."""
    reason = pair_filter.reason(question, text, probability, known)
    pairs.append(Pair(question.topic, question.question, text, probability, reason is None, reason))
    return f"{known}\n{text}" if reason is None else known


def asks_a_model(reconstructor: Reconstructor) -> bool:
    """Whether writing costs a call."""
    return isinstance(reconstructor, ChatReconstructor)


def within(reconstructor: Reconstructor, budget: Budget) -> Reconstructor:
    """The reconstructor with its calls counted in, and limited by, the budget of one search."""
    if not isinstance(reconstructor, ChatReconstructor):
        return reconstructor
    counted = Asker(reconstructor.client, budget)
    return ChatReconstructor(cast(ChatClient, counted))


def _request(picture: bytes, picture_id: str, question: Question) -> ChatRequest:
    prompt = Prompt.load("answer")
    messages = system_message(), picture_message(picture, prompt.fill(question=question.question))
    return ChatRequest(messages, "answer", f"{Prompt.load('system').version}+{prompt.version}", picture_id)
