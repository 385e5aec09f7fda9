"""The HTTP side: routes, bounds, deadlines, clients that hang up.

Requests and model steps share one thread. A step takes milliseconds and torch spreads it over the cores; a
second thread would only fight it for the interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.models.chat import ChatEncoder
from demo.models.server.engine import Engine
from demo.models.server.errors import ApiError
from demo.models.server.grammar import ChoiceTree
from demo.models.server.job import Job
from demo.models.server.pictures import Picture, PictureShelf, data_url_bytes, decode, digest
from demo.models.server.protocol import Answer, Call, read_call, write_reply

MAX_BODY = 32 * 1024 * 1024
log = logging.getLogger("demo.models.server")


class Server:
    def __init__(
        self,
        engine: Engine,
        encoder: ChatEncoder,
        *,
        name: str,
        timeout: float = 120.0,
        max_waiting: int = 2048,
        pictures: int = 2048,
    ) -> None:
        self.engine, self.encoder, self.name = engine, encoder, name
        self.timeout, self.max_waiting = timeout, max_waiting
        self.shelf = PictureShelf(pictures)
        self.work = asyncio.Event()
        self.started = int(time.time())

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _http_error},  # type: ignore[dict-item]
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self._steps())
        yield
        task.cancel()

    async def _steps(self) -> None:
        while True:
            if not self.engine.busy:
                self.work.clear()
                await self.work.wait()
            try:
                self.engine.step()
            except Exception as error:
                log.exception("a model step failed; its requests get status 500")
                self.engine.fail_all(ApiError(f"the model step failed: {error}"[:200], status=500))
            # A request needs a few turns of the event loop from its first byte to the queue.
            for _ in range(4):
                await asyncio.sleep(0)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.name})

    async def models(self, request: Request) -> Response:
        card = {
            "id": self.name, "object": "model", "created": self.started, "owned_by": "ctgi-demo",
            "max_model_len": self.engine.context,
        }  # fmt: skip
        return JSONResponse({"object": "list", "data": [card]})

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.engine.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def chat(self, request: Request) -> Response:
        arrived = time.perf_counter()
        status = 200
        try:
            call = read_call(await _body(request), self.name)
            pictures = [await self._picture(url) for url in call.image_urls]
            answer = await self._answer(call, pictures, request)
            return JSONResponse(write_reply(answer, call, self.name, self.engine.token_bytes))
        except ApiError as error:
            status = error.status
            headers = {"Retry-After": "1"} if status == 429 else None
            return JSONResponse(error.body(), status_code=status, headers=headers)
        except ClientDisconnect:
            status = 499
            return Response(status_code=499)
        finally:
            self.engine.metrics.requests.labels(str(status)).inc()
            self.engine.metrics.seconds.observe(time.perf_counter() - arrived)

    async def _picture(self, url: str) -> Picture:
        data = data_url_bytes(url)
        key = digest(data)
        known = self.shelf.find(key)
        if known is not None:
            return known
        # Large pictures take long to decode: the others are answered meanwhile.
        pixels = decode(data) if len(data) < 100_000 else await asyncio.to_thread(decode, data)
        return self.shelf.put(key, pixels)

    async def _answer(self, call: Call, pictures: list[Picture], request: Request) -> Answer:
        if len(self.engine.waiting) >= self.max_waiting:
            raise ApiError("too many requests are waiting; try again", status=429, code="rate_limit_exceeded")
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def on_done(result: Answer | Exception) -> None:
            if not done.done():
                done.set_exception(result) if isinstance(result, Exception) else done.set_result(result)

        tree = None
        if call.choices:
            choices = [(text, self.encoder.text_ids(text)) for text in call.choices]
            tree = ChoiceTree.of(choices, self.engine.end)
        job = Job(
            call, self.encoder.encode(call.messages), pictures,
            image_pad=self.encoder.image_pad, context=self.engine.context, tree=tree, on_done=on_done,
        )  # fmt: skip
        self.engine.waiting.append(job)
        self.work.set()
        gone = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait({done, gone}, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                return done.result()
            job.cancelled = True
            self.engine.metrics.cancelled.inc()
            if gone.done():
                raise ClientDisconnect
            raise ApiError(f"no answer within {self.timeout:g} s", status=504, code="timeout")
        finally:
            gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> Any:
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise ApiError(f"the request is larger than {MAX_BODY // 2**20} MiB", status=413)
        parts.append(part)
    try:
        return json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the request body is not JSON: {error}") from None


async def _http_error(request: Request, error: HTTPException) -> Response:
    said = ApiError(f"{request.method} {request.url.path}: {error.detail}", status=error.status_code)
    return JSONResponse(said.body(), status_code=error.status_code, headers=error.headers)
