"""What a request does without when a server does not know one of its optional fields.

OpenAI-compatible servers differ: OpenAI itself refuses ``structured_outputs`` (vLLM's constrained choice),
some servers refuse ``logprobs`` or ``response_format``, newer OpenAI models want ``max_completion_tokens``.
The refusal names the field; the call is made again without it, and so are all later ones.
"""

from __future__ import annotations

from typing import Any

from ctgi.mllm.chat import ChatRequest

# Order matters: the most specific word is looked for first.
_OPTIONAL = ("structured_outputs", "response_format", "json_schema", "top_logprobs", "logprobs", "max_tokens",
             "temperature")  # fmt: skip


def request_fields(model: str, request: ChatRequest, conceded: frozenset[str] | set[str]) -> dict[str, Any]:
    """The body of a request to ``/chat/completions``, less what the server refused."""
    fields: dict[str, Any] = {"model": model, "messages": list(request.messages)}
    limit = "max_completion_tokens" if "max_tokens" in conceded else "max_tokens"
    fields[limit] = request.max_tokens
    if "temperature" not in conceded:
        fields["temperature"] = request.temperature
    if request.logprobs and "logprobs" not in conceded:
        fields["logprobs"] = True
        if "top_logprobs" not in conceded:
            fields["top_logprobs"] = 5
    if request.choices and "structured_outputs" not in conceded:
        fields["structured_outputs"] = {"choice": list(request.choices)}
    if request.json_schema and "response_format" not in conceded:
        schema = {"name": request.purpose, "schema": request.json_schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


def concession(status: int, message: str, fields: dict[str, Any]) -> str | None:
    """The optional field that a refusal (HTTP 400 or 422) names and the request has, or None."""
    if status not in (400, 422):
        return None
    for name in _OPTIONAL:
        field = "response_format" if name == "json_schema" else name
        if name in message and field in fields:
            return field
    return None
