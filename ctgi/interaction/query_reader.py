"""The query read once: by a language model that takes text, or by rules.

A model is asked what the query says about each topic, in the query's own words (prompt `read`, one text call,
its reply bound to a JSON schema); the rules then read those few words in their topic. So a model can find
what a list of words cannot, such as what belongs to whom, but it cannot invent: words that are not in the
query are not taken, and a reply that is no such JSON leaves the reading to the rules.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ctgi.captioning.lexicon import words
from ctgi.captioning.pool import QuestionPool, default_pool
from ctgi.errors import CtgiError
from ctgi.interaction.asking import Chat, ModelGone
from ctgi.interaction.budget import BudgetSpent
from ctgi.interaction.dossier import Facet
from ctgi.interaction.reading import Reading, Said, read_query
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.messages import as_data, user_message
from ctgi.mllm.prompt import Prompt

QueryReader = Callable[[str], Awaitable[Reading]]

#: How much a "maybe" takes back.
_MAYBE = 0.5
_LONGEST = 400


def query_reader(client: Chat | None, facets: Sequence[Facet]) -> QueryReader:
    """By the model behind `client`, or without one by rules."""
    return by_rules(facets) if client is None else by_model(client, facets)


def by_rules(facets: Sequence[Facet]) -> QueryReader:
    """The deterministic reader."""

    async def read(text: str) -> Reading:
        return read_query(text, facets)

    return read


def by_model(client: Chat, facets: Sequence[Facet], pool: QuestionPool | None = None) -> QueryReader:
    """Asks `client`, whose cache keeps an exact reading for the next time; rules where it fails."""
    topics = list(dict.fromkeys(facet.topic for facet in facets))
    questions = {question.topic: question.question for question in pool or default_pool()}

    async def read(text: str) -> Reading:
        try:
            reply = await client.chat(_request(text, topics, questions))
            return checked(reply.text, text, facets)
        except (CtgiError, ModelGone, BudgetSpent, ValueError):
            return read_query(text, facets)

    return read


def checked(reply: str, text: str, facets: Sequence[Facet]) -> Reading:
    """The reading of a model's reply. What the query does not say is dropped.

    Raises ValueError where the reply is not the JSON that was asked for, or nothing of it can be used though
    the rules find something.
    """
    begin, end = reply.find("{"), reply.rfind("}")
    found = json.loads(reply[begin : end + 1]) if begin >= 0 else None
    entries = found.get("topics") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no topics in the reply")
    said = {word.text for word in words(text)}
    says: dict[int, Said] = {}
    for entry in entries:
        for one in _of_entry(entry, said, facets):
            says.setdefault(one.facet, one)
    if not says and read_query(text, facets).says:
        raise ValueError("the reply says nothing of what the query says")
    return Reading(tuple(says.values()))


def _of_entry(entry: Any, said: set[str], facets: Sequence[Facet]) -> list[Said]:
    """What one topic's words say about that topic's facets."""
    if not isinstance(entry, dict):
        return []
    topic, phrase, stated = (str(entry.get(name, "")) for name in ("topic", "says", "stated"))
    own = [word.text for word in words(phrase) if word.text not in (".", ",")]
    if not own or len(phrase) > _LONGEST or not set(own) <= said:
        return []
    reading = read_query(phrase, facets)
    if stated == "no" and not any(one.negated for one in reading.says):
        reading = read_query(f"no {phrase}", facets)
    mine = [one for one in reading.says if facets[one.facet].topic == topic]
    if stated == "maybe":
        mine = [replace(one, doubt=float(np.maximum(one.doubt, _MAYBE))) for one in mine]
    return mine


def _request(text: str, topics: Sequence[str], questions: dict[str, str]) -> ChatRequest:
    prompt = Prompt.load("read")
    listed = "; ".join(f"{topic} ({questions.get(topic, topic)})" for topic in topics)
    schema = {
        "type": "object",
        "properties": {
            "topics": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "topic": {"type": "string", "enum": list(topics)},
                        "says": {"type": "string"},
                        "stated": {"type": "string", "enum": ["yes", "no", "maybe"]},
                    },
                    "required": ["topic", "says", "stated"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["topics"],
        "additionalProperties": False,
    }
    return ChatRequest(
        (user_message(prompt.fill(topics=listed, search=as_data({"description": text}))),),
        "read",
        prompt.version,
        max_tokens=400,
        temperature=0.0,
        json_schema=schema,
        logprobs=False,
    )
