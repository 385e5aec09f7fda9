"""One asynchronous client for any OpenAI-compatible chat server."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

from ctgi.errors import CtgiError
from ctgi.mllm.cache import ReplyCache, reply_key
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest
from ctgi.mllm.concessions import concession, request_fields
from ctgi.mllm.ledger import Ledger
from ctgi.mllm.reply import parse_reply
from ctgi.mllm.retry import judge_failure, pause_before, said_by_server

__all__ = ["ChatClient", "ChatError", "ChatReply", "ChatRequest"]

_WORTH_SAYING = 30.0  # seconds of patience
_LOG = logging.getLogger(__name__)


class ChatClient:
    """Asks a chat server, at most ``concurrency`` requests at a time.

    ``timeout`` (seconds) is for one try; a failed try that is worth it is made again up to ``retries`` times
    with exponential pauses from ``backoff`` seconds, half of them jitter, and never before the time a server
    asks for; and then on until ``patience`` seconds have passed since the first failure, which is for a
    server that restarts. With ``answered_first`` there is patience only with a server that has answered
    before, so that a wrong address is said at once. A request's own deadline rules over all of it. With a
    ``cache`` an answered request is never sent again, not even when two ask the same at once.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 4,
        patience: float = 0.0,
        answered_first: bool = False,
        cache: ReplyCache | None = None,
        ledger: Ledger | None = None,
        backoff: float = 0.5,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise CtgiError(f"chat server {base_url!r}: an address begins with http:// or https://")
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise CtgiError(
                f"chat client: concurrency {concurrency}, retries {retries}, timeout {timeout:g}; give "
                "concurrency >= 1, retries >= 0 and timeout > 0"
            )
        from openai import AsyncOpenAI  # slow to import, and a search without MTI has no use for it

        self.base_url, self.model, self.concurrency = base_url, model, concurrency
        self.cache, self.ledger = cache, ledger if ledger is not None else Ledger()
        self._timeout, self._retries, self._patience, self._backoff = timeout, retries, patience, backoff
        self._openai = AsyncOpenAI(
            base_url=base_url, api_key=api_key or "EMPTY", max_retries=0, timeout=timeout
        )
        self._trusted = not answered_first  # whether the server is one worth waiting for
        self._slots = asyncio.Semaphore(concurrency)
        self._asking: dict[str, tuple[asyncio.Lock, int]] = {}
        self._conceded: set[str] = set()
        self._told_until = 0.0  # what was said of a wait holds until then
        self._not_before = 0.0  # the whole client waits when the server asks one request to
        self._rng = random.Random()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The reply to one request; raises :class:`ChatError` when there is none."""
        try:
            async with asyncio.timeout(request.deadline):
                return await self._cached(request)
        except TimeoutError as error:
            self.ledger.account(request.purpose).failures += 1
            raise self._error(request, f"no reply within {request.deadline:g} s", "deadline") from error

    async def _cached(self, request: ChatRequest) -> ChatReply:
        if self.cache is None:
            return await self._ask(request)
        key = reply_key(self.model, request)
        async with self._alone(key):
            stored = self.cache.get(key)
            if stored is not None:
                self.ledger.account(request.purpose).cached += 1
                return stored
            reply = await self._ask(request)
            self.cache.put(key, self.model, request, reply)
            return reply

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One asker at a time for a key; the others then find the reply in the cache."""
        lock, waiting = self._asking.get(key, (asyncio.Lock(), 0))
        self._asking[key] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._asking[key]
            if waiting == 1:
                del self._asking[key]
            else:
                self._asking[key] = lock, waiting - 1

    async def _ask(self, request: ChatRequest) -> ChatReply:
        """Try until there is a reply; concessions are not counted as tries."""
        account = self.ledger.account(request.purpose)
        loop = asyncio.get_running_loop()
        ends = None if request.deadline is None else loop.time() + request.deadline
        tries, patient_until = 0, 0.0
        while True:
            fields = request_fields(self.model, request, self._conceded)
            try:
                reply = await self._send(request, fields)
            except Exception as error:
                refused = concession(getattr(error, "status_code", 0), said_by_server(error), fields)
                if refused:
                    self._conceded.add(refused)
                    continue
                verdict = judge_failure(error)
                tries += 1
                if verdict.again and not patient_until:
                    patient_until = loop.time() + (self._patience if self._trusted else 0.0)
                    self._tell(verdict.reason, patient_until)
                pause = pause_before(tries, verdict, self._backoff, self._rng)
                late = ends is not None and loop.time() + pause >= ends
                over = tries > self._retries and loop.time() >= patient_until
                if not verdict.again or over or late:
                    account.failures += 1
                    kind = "deadline" if late and verdict.again else verdict.kind
                    reason = f"{verdict.reason}, after {tries} tries"
                    status = getattr(error, "status_code", 0)
                    raise self._error(request, reason, kind, not_found=status == 404) from error
                account.retries += 1
                if verdict.retry_after:
                    self._not_before = max(self._not_before, loop.time() + pause)
                await asyncio.sleep(pause)
            else:
                self._trusted = True
                self.ledger.paid(request.purpose, reply.prompt_tokens, reply.completion_tokens, reply.seconds)
                return reply

    def _tell(self, reason: str, patient_until: float) -> None:
        """Say once that a server is waited for, where that can be so long that people wonder."""
        if (
            self._trusted
            and self._patience >= _WORTH_SAYING
            and patient_until - self._patience >= self._told_until
        ):
            self._told_until = patient_until
            _LOG.warning("%s: %s; trying again for up to %g s", self.base_url, reason, self._patience)

    async def _send(self, request: ChatRequest, fields: dict[str, Any]) -> ChatReply:
        loop = asyncio.get_running_loop()
        async with self._slots:
            while (wait := self._not_before - loop.time()) > 0:
                await asyncio.sleep(wait)
            started = time.perf_counter()
            # openai's own timeout is per read; a server that dribbles would hold the slot for ever
            async with asyncio.timeout(self._timeout):
                completion = await self._post(fields)
            return parse_reply(
                completion,
                request.choices,
                time.perf_counter() - started,
                alternatives=request.alternatives,
            )

    async def _post(self, fields: dict[str, Any]) -> Any:
        """One request. ``chat.completions.create`` would send the same after walking every message through
        its type definitions, which takes longer than the request itself."""
        from openai.types.chat import ChatCompletion

        return await self._openai.post("/chat/completions", body=fields, cast_to=ChatCompletion)

    def _error(self, request: ChatRequest, reason: str, kind: Any, *, not_found: bool = False) -> ChatError:
        remedy = {
            "unreachable": "is the server running?",
            "refused": "check the key and the model's name",
            "request": "the server does not take this request",
            "overloaded": "lower the concurrency or try later",
            "deadline": "raise the deadline",
        }[kind]
        if not_found and not self.base_url.rstrip("/").endswith("/v1"):
            remedy = f"should the address end in /v1? If not, {remedy}"
        return ChatError(f"{self.base_url} ({self.model}), {request.purpose}: {reason}; {remedy}", kind)

    async def close(self) -> None:
        """Close the connections; the cache stays open, it belongs to the caller."""
        await self._openai.close()

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
