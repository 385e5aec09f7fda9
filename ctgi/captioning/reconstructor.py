"""The Reconstructor (Sec. 3.4): an interview becomes one caption, a query and answers one refined query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from ctgi.captioning.transcript import Pair
from ctgi.mllm.chat import ChatError, ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.messages import as_data, user_message
from ctgi.mllm.prompt import Prompt

#: The paper's Reconstructor.
DEFAULT_MODEL = "gpt-4o"


class Reconstructor(Protocol):
    """Writes captions and refined queries. Pairs that were not kept are left out by every implementation."""

    @property
    def name(self) -> str:
        """What transcripts record: the model and the prompt's version, or the composer's own."""
        ...

    async def reconstruct(self, static_caption: str, pairs: Sequence[Pair]) -> str:
        """T_e from T_s and the pairs (Eq. 3)."""
        ...

    async def rewrite(self, query: str, pairs: Sequence[Pair]) -> str:
        """The refined query from the query and the anchor's answers (Eq. 6)."""
        ...


class ChatReconstructor:
    """Any chat model that takes text (the paper: GPT-4o); what it is given is marked off as data."""

    def __init__(self, client: ChatClient, *, deadline: float | None = None, max_tokens: int = 320) -> None:
        self._client, self._deadline, self._max_tokens = client, deadline, max_tokens

    @property
    def name(self) -> str:
        return f"{self._client.model}:{Prompt.load('reconstruct').version}"

    @property
    def client(self) -> ChatClient:
        """The client it asks through (its ledger tells what reconstructing cost)."""
        return self._client

    async def reconstruct(self, static_caption: str, pairs: Sequence[Pair]) -> str:
        data = as_data({"description": static_caption, "pairs": _kept(pairs)})
        prompt = Prompt.load("reconstruct")
        return await self._write("reconstruct", prompt.version, prompt.fill(interview=data))

    async def rewrite(self, query: str, pairs: Sequence[Pair]) -> str:
        kept = _kept(pairs)
        if not kept:
            return query
        prompt = Prompt.load("rewrite")
        return await self._write(
            "rewrite", prompt.version, prompt.fill(search=as_data({"query": query, "pairs": kept}))
        )

    async def _write(self, purpose: str, version: str, text: str) -> str:
        reply = await self._client.chat(
            ChatRequest(
                (user_message(text),),
                purpose,
                version,
                max_tokens=self._max_tokens,
                logprobs=False,
                deadline=self._deadline,
            )
        )
        written = clean(reply.text)
        if not written:
            raise ChatError(
                f"{self._client.model}, {purpose}: the model wrote nothing; try another", "request"
            )
        return written


def _kept(pairs: Sequence[Pair]) -> list[dict[str, str]]:
    return [{"question": pair.question, "answer": pair.answer} for pair in pairs if pair.kept]


def clean(text: str) -> str:
    """One line without a heading ("Caption:") and without the quotation marks models like to add."""
    line = " ".join(text.split())
    line = re.sub(
        r"^\W*(?:refined |rewritten |merged )?(?:caption|description|query)\W*?:[\s*]*", "", line, flags=re.I
    )
    for opening, closing in (('"', '"'), ("“", "”"), ("'", "'"), ("**", "**")):
        inner = line[len(opening) : -len(closing)]
        if line.startswith(opening) and line.endswith(closing) and opening not in inner:
            line = inner.strip()
    return line
