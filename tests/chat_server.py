"""A chat server with a script, for what real ones do on bad days.

It speaks the OpenAI protocol over HTTP and answers what a test tells it to: it looks at no picture, and no
test uses it to show that captions are any good.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = {
    "man or a woman": "The person is a woman.",
    "hair look like": "The person has long black hair.",
    "upper body": "The person wears a red jacket.",
    "pattern does": "The jacket is striped and has long sleeves.",
    "logo": "There is no logo on the chest.",
    "lower body": "The person wears blue trousers.",
    "What shoes": "The person wears white sneakers.",
    "a bag": "The person carries a red backpack.",
    "a hat": "Cannot tell.",
    "glasses": "The person wears no glasses.",
    "scarf": "The person wears a pink scarf.",
    "holding": "The person holds a phone.",
    "doing": "The person is walking.",
    "Describe the person": "A woman in a red jacket and blue trousers.",
}


@dataclass
class Reply:
    """What the server does with one request."""

    body: dict[str, Any] | str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def completion(
    text: str,
    logprobs: list[tuple[str, float]] | None = None,
    top: list[list[tuple[str, float]]] | None = None,
) -> dict[str, Any]:
    """A chat completion; ``logprobs`` are (token, probability), ``top`` the alternatives of each token."""
    content = None
    if logprobs is not None:
        content = [
            {
                "token": token,
                "logprob": math.log(p),
                "top_logprobs": [
                    {"token": t, "logprob": math.log(q)} for t, q in (top[i] if top else [(token, p)])
                ],
            }
            for i, (token, p) in enumerate(logprobs)
        ]
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "small",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
                "logprobs": None if content is None else {"content": content},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def last_text(body: dict[str, Any]) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def answer(body: dict[str, Any], _: int = 0) -> Reply:
    """The default script: an interview's turns, from ``ANSWERS``."""
    asked = last_text(body)
    said = next(text for cue, text in ANSWERS.items() if cue in asked)
    return Reply(completion(said, [(word, 0.98) for word in said.split()] + [("<|im_end|>", 0.5)]))


class ChatServer:
    """Counts what it was asked and what it has answered; ``script(body, number)`` decides every reply."""

    def __init__(self, script: Callable[[dict[str, Any], int], Reply] = answer, port: int = 0) -> None:
        self.script = script
        self.raw: list[bytes] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.answered: list[str] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers["content-length"]))
        body = json.loads(raw)
        with self._lock:
            number = len(self.asked)
            self.raw.append(raw)
            self.asked.append(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self.times.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            reply = self.script(body, number)
            time.sleep(reply.delay)
        finally:
            with self._lock:
                self._now -= 1
        data = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
        kind = "text/html" if isinstance(reply.body, str) else "application/json"
        try:
            request.send_response(reply.status)
            for name, value in {
                "content-type": kind,
                "content-length": str(len(data)),
                **reply.headers,
            }.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            return  # the client has gone
        if reply.status == 200:
            with self._lock:
                self.answered.append(json.dumps(body["messages"], sort_keys=True))

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def chat_server(script: Callable[[dict[str, Any], int], Reply] = answer) -> Iterator[ChatServer]:
    server = ChatServer(script)
    try:
        yield server
    finally:
        server.close()


def error(status: int, message: str = "no", headers: dict[str, str] | None = None, **more: str) -> Reply:
    """An error reply in OpenAI's shape."""
    return Reply({"error": {"message": message, "type": "x", **more}}, status, headers or {})
