"""The OpenAI chat protocol, as far as a small vision-language model needs it: reading requests, writing
replies."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.models.server.errors import ApiError
from demo.models.server.grammar import JsonForm

MAX_PICTURES = 4
MAX_CHOICES = 64
ROLES = ("system", "developer", "user", "assistant")
# Asked-for behaviour that this server has not: refused unless it is at the value that means "off".
_OFF: dict[str, tuple[Any, ...]] = {
    "n": (1,), "stream": (False,), "tools": ([],), "functions": ([],), "logit_bias": ({},), "audio": (),
    "presence_penalty": (0,), "frequency_penalty": (0,),
    "guided_json": (), "guided_regex": (), "guided_grammar": (),
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A checked request. `image_urls` stand in the order in which the messages show pictures."""

    messages: tuple[dict[str, Any], ...]
    image_urls: tuple[str, ...]
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    logprobs: bool
    top_logprobs: int
    choices: tuple[str, ...]
    form: JsonForm | None


def read_call(body: Any, model: str) -> Call:
    """Raises ApiError naming the parameter that is wrong."""
    if not isinstance(body, Mapping):
        raise ApiError("the request body must be a JSON object")
    if body.get("model", model) != model:
        raise ApiError(
            f"the model {str(body['model'])[:80]!r} does not exist; this server has {model!r}",
            status=404, param="model", code="model_not_found",
        )  # fmt: skip
    for name, off in _OFF.items():
        value = body.get(name)
        if value is not None and value not in off:
            raise ApiError(f"`{name}` = {str(value)[:40]} is not supported by this server", param=name)
    messages, urls = _messages(body.get("messages"))
    choices, form = _constraint(body)
    logprobs = body.get("logprobs") or False
    if not isinstance(logprobs, bool):
        raise ApiError("`logprobs` must be true or false", param="logprobs")
    top = _number(body, "top_logprobs", 0, 0, 20, whole=True)
    if top and not logprobs:
        raise ApiError("`top_logprobs` needs `logprobs` to be true", param="top_logprobs")
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    max_tokens = None if body.get(limit) is None else int(_number(body, limit, 0, 1, 1 << 20, whole=True))
    seed = None if body.get("seed") is None else int(_number(body, "seed", 0, -(2**63), 2**63, whole=True))
    return Call(
        messages=messages,
        image_urls=urls,
        max_tokens=max_tokens,
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        seed=seed,
        stop=_stop(body.get("stop")),
        logprobs=logprobs,
        top_logprobs=int(top),
        choices=choices,
        form=form,
    )


def _number(
    body: Mapping[str, Any], name: str, default: float, low: float, high: float, whole: bool = False
) -> float:
    value = body.get(name)
    if value is None:
        return default
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    if not fits or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ApiError(f"`{name}` must be {kind} from {low} to {high}", param=name)
    return value  # type: ignore[no-any-return]


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or len(texts) > 4 or not all(isinstance(t, str) and t for t in texts):
        raise ApiError("`stop` must be a text or a list of at most four texts, none empty", param="stop")
    return tuple(texts)


def _messages(value: Any) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    if not isinstance(value, list) or not value:
        raise ApiError("`messages` must be a non-empty list", param="messages")
    messages: list[dict[str, Any]] = []
    urls: list[str] = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ApiError(f"`{where}.role` must be one of {', '.join(ROLES)}", param="messages")
        role = "system" if message["role"] == "developer" else message["role"]
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not parts:
            raise ApiError(f"`{where}.content` must be a text or a non-empty list of parts", param="messages")
        read: list[dict[str, str]] = []
        for part in parts:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "text" and isinstance(part.get("text"), str):
                read.append({"type": "text", "text": part["text"]})
            elif kind == "image_url" and role == "user":
                image = part.get("image_url")
                url = image.get("url") if isinstance(image, Mapping) else image
                if not isinstance(url, str):
                    raise ApiError(f"`{where}` has an image_url part without a url", param="messages")
                urls.append(url)
                read.append({"type": "image_url"})
            else:
                raise ApiError(
                    f"`{where}` has a part of type {str(kind)[:40]!r}: only `text`, and `image_url` from "
                    "the user, are read", param="messages",
                )  # fmt: skip
        messages.append({"role": role, "content": read})
    if len(urls) > MAX_PICTURES:
        raise ApiError(
            f"{len(urls)} pictures in one conversation; at most {MAX_PICTURES} are read", param="messages"
        )
    return tuple(messages), tuple(urls)


def _constraint(body: Mapping[str, Any]) -> tuple[tuple[str, ...], JsonForm | None]:
    structured = body.get("structured_outputs") or {}
    if not isinstance(structured, Mapping):
        raise ApiError("`structured_outputs` must be an object", param="structured_outputs")
    unknown = sorted(set(structured) - {"choice", "json"})
    if unknown:
        raise ApiError(f"structured_outputs.{unknown[0]} is not supported; use `choice` or `json`",
                       param="structured_outputs")  # fmt: skip
    choice = structured.get("choice", body.get("guided_choice"))
    schema = structured.get("json")
    answer = body.get("response_format") or {"type": "text"}
    if not isinstance(answer, Mapping) or answer.get("type") not in ("text", "json_schema"):
        raise ApiError("`response_format.type` must be `text` or `json_schema`", param="response_format")
    if answer["type"] == "json_schema":
        wrapped = answer.get("json_schema")
        if not isinstance(wrapped, Mapping) or "schema" not in wrapped:
            raise ApiError("`response_format.json_schema.schema` is missing", param="response_format")
        schema = wrapped["schema"]
    if choice is None:
        return (), None if schema is None else JsonForm(schema)
    if schema is not None:
        raise ApiError(
            "an answer can be held to choices or to a JSON schema, not to both", param="structured_outputs"
        )
    texts = choice if isinstance(choice, list) else []
    if not 0 < len(texts) <= MAX_CHOICES or not all(isinstance(t, str) and t for t in texts):
        raise ApiError(f"`choice` must list 1 to {MAX_CHOICES} texts, none empty", param="structured_outputs")
    return tuple(dict.fromkeys(texts)), None


@dataclass(frozen=True)
class TokenRecord:
    """A generated token, its log-probability, and the likeliest tokens in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Answer:
    text: str
    records: tuple[TokenRecord, ...]  # the end token is not among them
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int  # with the end token, as vLLM counts


def write_reply(answer: Answer, call: Call, model: str, token_bytes: Sequence[bytes]) -> dict[str, Any]:
    logprobs = None
    if call.logprobs:

        def entry(token: int, logprob: float) -> dict[str, Any]:
            raw = token_bytes[token]
            return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

        logprobs = {
            "content": [
                {**entry(r.token, r.logprob), "top_logprobs": [entry(t, p) for t, p in r.top]}
                for r in answer.records
            ],
            "refusal": None,
        }
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        },
    }
