"""The probability that the model gives to words put into its mouth, through the chat protocol.

A reply held to one choice is these words, with the model's own unconstrained log-probabilities beside them:
exactly what the interview records for an answer that the model gives by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ctgi.captioning.interview import interview_version
from ctgi.captioning.sent_picture import sent_picture
from ctgi.cli.progress import counter
from ctgi.datasets.pseudo import PseudoCaption
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import Message, assistant_message, picture_message, system_message, user_message
from ctgi.mllm.prompt import Prompt
from demo.chat_models import ChatModel
from demo.noise.corrupt import WrongAnswer


def forced_probabilities(
    wanted: Sequence[WrongAnswer],
    captions: Sequence[PseudoCaption],
    pictures: Path,
    chat: ChatModel,
    concurrency: int,
) -> list[float | None]:
    """Of each answer at its place in its row's interview, about its row's picture; None where the server
    gives none. Replies are kept by the client: what was asked is not asked again."""
    show = counter("wrong answers", "asked")
    done = 0

    async def one(client: ChatClient, item: WrongAnswer, gate: asyncio.Semaphore) -> float | None:
        nonlocal done
        async with gate:
            caption = captions[item.row]
            request = ChatRequest(
                _until(caption, item.pair, pictures),
                "forced",
                interview_version(),
                caption.picture_id,
                choices=(item.answer,),
            )
            reply = await client.chat(request)
        done += 1
        show(done, len(wanted))
        return reply.probability

    async def work() -> list[float | None]:
        gate = asyncio.Semaphore(2 * concurrency)
        async with chat.client(concurrency) as client:
            return await asyncio.gather(*(one(client, item, gate) for item in wanted))

    return asyncio.run(work())


def _until(caption: PseudoCaption, pair: int, pictures: Path) -> tuple[Message, ...]:
    """The interview up to the question of `pair`, as it was held."""
    data = sent_picture((pictures / caption.path).read_bytes(), caption.path)
    dialogue = [
        system_message(),
        picture_message(data, Prompt.load("describe").text),
        assistant_message(caption.static_caption),
    ]
    for number, said in enumerate(caption.pairs[: pair + 1]):
        dialogue.append(user_message(Prompt.load("answer").fill(question=said.question)))
        if number < pair:
            dialogue.append(assistant_message(said.answer))
    return tuple(dialogue)
