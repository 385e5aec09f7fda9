"""From a picture's answers to distributions over the values of the facets.

What an answer says is read like any text. What else the model had in mind is read off the alternatives to its
tokens: up to the word that names a value, every alternative that would have led to another value ("blue" for
"red", "no" for "a") takes its share of the probability; one that only words the same thing otherwise leads
nowhere that can be known and is left out. Without log-probabilities the answer's text counts alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctgi.captioning.questions import Question
from ctgi.captioning.statements import statement
from ctgi.interaction.dossier import CANNOT_TELL
from ctgi.interaction.facet_words import FacetWords, Weights
from ctgi.interaction.vocabulary import Found, Vocabulary
from ctgi.mllm.chat import ChatReply, Token

_DENIALS = frozenset(("no", "not", "none", "nothing", "without", "neither", "never", "isn", "doesn", "aren"))
# How an answer begins that gives up.
_GIVING_UP = frozenset(("cannot", "can't", "can", "unclear", "unable", "unknown"))
# Words that name something after a "no" that was not said.
_NAMING = frozenset(("a", "an", "the", "one", "some", "two", "yes"))


@dataclass(frozen=True)
class _Spelled:
    """An answer's tokens, each with the place of its first letter in the text."""

    text: str
    tokens: Sequence[Token]
    starts: Sequence[int]

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> _Spelled:
        starts, at = [], 0
        for token in tokens:
            starts.append(at + len(token.text) - len(token.text.lstrip()))
            at += len(token.text)
        return cls("".join(token.text for token in tokens), tokens, starts)


def read_answers(
    replies: Mapping[str, ChatReply], questions: Mapping[str, Question], vocabulary: Vocabulary
) -> list[Weights]:
    """One float32 (V_f,) a facet, summing to 1, from the replies to the questions, both by topic.

    A facet is read from the answer to its own topic; where that says nothing of it, from any other answer
    that does (the pattern of "a striped red shirt").
    """
    tables = [_unknown(facet.values) for facet in vocabulary.facets]
    asides: list[Found] = []
    for topic, reply in replies.items():
        own, others = _read_one(topic, reply, questions[topic], vocabulary)
        for number, weights in own.items():
            tables[number] = weights
        asides += others
    for found in asides:
        if tables[found.facet][-1] == 1.0:
            tables[found.facet] = _shared(found)
    return tables


def _read_one(
    topic: str, reply: ChatReply, question: Question, vocabulary: Vocabulary
) -> tuple[dict[int, Weights], list[Found]]:
    """The facets of the question's own topic, and what the answer says besides."""
    own: dict[int, Weights] = {}
    mine = [number for number, facet in enumerate(vocabulary.facets) if facet.topic == topic]
    spelled = _Spelled.of(reply.tokens) if reply.tokens else None
    as_said = vocabulary.find(spelled.text if spelled else reply.text, exact=True)
    # What is no sentence ("Black boots.", "Yes.") is read in its frame; then its words have no place in it.
    framed = [] if as_said else vocabulary.find(statement(question, reply.text), exact=True)
    for number in mine:
        words = vocabulary.words(number)
        found = next((item for item in as_said or framed if item.facet == number), None)
        if found is None:
            if _denied(reply.text, words) and not vocabulary.unknowing(reply.text):
                own[number] = words.weights({words.absent or "": 1.0})
                if spelled:
                    own[number] = _weighed(spelled, own[number], spelled.starts[0], words)
            continue
        weights = _shared(found)
        if spelled and as_said:
            if found.negated:
                denial = vocabulary.denial(spelled.text, found.place)
                weights = _weighed(spelled, weights, denial, words)
            else:
                weights = _weighed(spelled, weights, found.place[0], words, found.place)
        own[number] = weights
    return own, [found for found in as_said or framed if found.facet not in mine]


def _shared(found: Found) -> Weights:
    """Weights as a distribution; what is in doubt is not known."""
    weights: Weights = found.weights / found.weights.sum() * np.float32(1.0 - found.doubt)
    weights[-1] = 1.0 - weights[:-1].sum()
    return weights


def _weighed(
    spelled: _Spelled, said: Weights, decided: int, words: FacetWords, place: tuple[int, int] | None = None
) -> Weights:
    """`said` with what the alternatives would have said.

    Tokens before `decided` (a place in the text) can still deny the thing or give up; those within `place`
    can name another value.
    """
    total = np.zeros(len(said), np.float64)
    reached = 1.0
    end = max(decided + 1, place[1] if place else 0)
    for token, start in zip(spelled.tokens, spelled.starts, strict=True):
        if start >= end:
            break
        named = place is not None and place[0] <= start < place[1]
        prefix = spelled.text[place[0] : start] if named and place else ""
        chosen = math.exp(token.logprob)
        others = np.zeros(len(said), np.float64)
        for text, logprob in token.top:
            if text != token.text:
                others += math.exp(logprob) * _leads_to(prefix, text, start, spelled, said, words, named)
        share = others.sum()
        if share:
            total += reached * others / (share + chosen)
            reached *= chosen / (share + chosen)
    return np.asarray(total + reached * said, np.float32)


def _leads_to(
    prefix: str, text: str, start: int, spelled: _Spelled, said: Weights, words: FacetWords, named: bool
) -> Weights:
    """Where an answer that went on with `text` would have ended: a distribution, or zeros if it is open."""
    values = words.facet.values
    open_ = np.zeros(len(values), np.float32)
    plain = text.strip().lower()
    bare = re.sub(r"\W+$", "", plain)
    if not bare:
        return open_
    if start == spelled.starts[0] and bare in _GIVING_UP:
        return _unknown(values)
    absent = words.absent
    if absent is not None and not named and bare in _DENIALS:
        return open_ if said[values.index(absent)] else words.weights({absent: 1.0})
    if absent is not None and said[values.index(absent)] and start >= spelled.starts[0] and bare in _NAMING:
        present = {value: 1.0 for value in values if value not in (absent, CANNOT_TELL)}
        return words.weights(present) / np.float32(len(present))
    if not named:
        return open_
    begun = (prefix + text.lower() if prefix else plain).replace("-", " ")
    meant = {value for form, value in words.forms if form.startswith(begun) or _completes(form, begun)}
    return words.weights(dict.fromkeys(meant, 1.0)) / np.float32(len(meant)) if meant else open_


def _completes(form: str, begun: str) -> bool:
    """Whether what has begun is the whole form, and goes on with something else."""
    return begun.startswith(form) and not begun[len(form) :][:1].isalpha()


def _denied(text: str, words: FacetWords) -> bool:
    """Whether a short reply denies the thing without naming it: "No.", "Nothing."."""
    said = re.findall(r"[a-z]+", text.lower())
    return (
        words.absent is not None
        and words.detail is None
        and bool(said)
        and said[0] in ("no", "none", "nothing")
    )


def _unknown(values: Sequence[str]) -> Weights:
    weights = np.zeros(len(values), np.float32)
    weights[-1] = 1.0
    return weights
