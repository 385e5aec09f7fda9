"""The small Qwen2-VL behind its server, started when a stage first needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType

from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache
from ctgi.mllm.chat import ChatReply, ChatRequest
from ctgi.mllm.client import ChatClient
from ctgi.mllm.ledger import Ledger
from demo.models.launch import running


class ChatModel:
    """``digest`` is of the weights: replies of other weights are never taken for theirs. ``server`` is the
    address of one that serves these weights already."""

    def __init__(
        self, folder: Path, digest: str, replies: Path, threads: int, server: str | None = None
    ) -> None:
        self.folder, self.digest, self.name = folder, digest, folder.resolve().name
        self.ledger = Ledger()
        self._replies, self._threads = replies / f"{digest[:16]}.sqlite", threads
        self._stack = ExitStack()
        self._url = server

    @property
    def url(self) -> str:
        """The server's address; one is started on first use unless one was named."""
        if self._url is None:
            try:
                self._url = self._stack.enter_context(running(self.folder, self._threads))
            except RuntimeError as error:
                raise CtgiError(" ".join(str(error).split())) from error
        return self._url

    @asynccontextmanager
    async def client(self, concurrency: int, *, kept: bool = True) -> AsyncIterator[ChatClient]:
        """A client of the server; with ``kept`` its replies go to disk and are asked for only once."""
        cache = ReplyCache(self._replies) if kept else None
        try:
            async with ChatClient(
                self.url, self.name, concurrency=concurrency, cache=cache, ledger=self.ledger
            ) as client:
                yield client
        finally:
            if cache is not None:
                cache.close()

    def __enter__(self) -> ChatModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Tally:
    """Passes requests on and adds up the tokens of every reply, also of those that the cache spared: what a
    search costs where nobody asked before."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self.model = client.model
        self.prompt_tokens = self.completion_tokens = 0

    async def chat(self, request: ChatRequest) -> ChatReply:
        reply = await self._client.chat(request)
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        return reply
