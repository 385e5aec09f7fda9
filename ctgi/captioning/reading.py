"""What a text says about a person: which topics it mentions, and with which details.

This is reading by word lists, not by a model: it decides which question is worth asking and which answer
says nothing new, and must be the same on every machine. Longest match first, so ``running shoes`` are shoes
and nobody runs; details belong to the thing they stand beside, so the red of a jacket is not the cap's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ctgi.captioning.lexicon import PAUSES, Lexicon, Word, phrase, plurals, words
from ctgi.captioning.questions import Question

# A noun phrase begins after one of these: what stands before them belongs to something else.
_BREAKS = frozenset(
    "a an the this that these their its some any no not without with in on of at to from under over by is "
    "are was were has have had having wear wears wore wearing carry carries carried carrying who which while "
    "but as for .".split()
)
_LINKS = frozenset("is are was were in of looks that which appears".split())
_PASSED_AFTER_LINK = _LINKS | frozenset(
    "a an both mostly mainly very dark light bright pale colour color".split()
)
_JOINS = frozenset(("and", "or", ","))
_NEGATION_REACH = 7
_SENTENCE = re.compile(rf"[^{PAUSES}]+")


@dataclass(frozen=True)
class Mention:
    """One place where a text speaks about a topic.

    ``thing`` is the canonical name ("" where only a frame such as "is holding" stands), ``surface`` the
    text's own word; ``details`` are (kind, canonical word), ``others`` further words that stand with it;
    ``place`` where the surface begins and ends in the characters of the text.
    """

    topic: str
    thing: str
    surface: str
    negated: bool = False
    settled: bool = False
    details: frozenset[tuple[str, str]] = frozenset()
    others: frozenset[str] = frozenset()
    place: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass
class _Entry:
    """What one phrase of the word lists stands for."""

    topics: dict[str, str] = field(default_factory=dict)  # topic -> cue | frame | absent | settled
    detail: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Span:
    """A phrase found in a text: words[start:end]."""

    start: int
    end: int
    entry: _Entry

    @property
    def is_head(self) -> bool:
        """A thing with a name, as against a detail of one."""
        return bool(self.entry.topics) and self.entry.detail is None


class Reader:
    """Reads texts with one set of questions and one lexicon."""

    def __init__(self, questions: Sequence[Question], masks: Iterable[str], lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._detailed = {question.topic for question in questions if question.details}
        self._entries: dict[tuple[str, ...], _Entry] = {}
        for cue, detail in lexicon.details.items():
            entry = self._entries.setdefault(cue, _Entry())
            entry.detail = detail
            if topic := lexicon.topics_of_details.get(detail[0]):
                entry.topics[topic] = "cue"
        for question in questions:
            for role in ("cue", "frame", "absent", "settled"):
                for text in getattr(question, {"cue": "cues", "frame": "frames"}.get(role, role)):
                    self._add(question.topic, role, phrase(text))
        for mask in masks:
            self._entries[phrase(mask)] = _Entry()
        self._longest = max(map(len, self._entries), default=1)
        self._remembered = lru_cache(maxsize=4096)(self._sentence)

    def _add(self, topic: str, role: str, cue: tuple[str, ...]) -> None:
        forms = plurals(cue[-1]) if role == "cue" else (cue[-1],)
        for form in forms:
            self._entries.setdefault((*cue[:-1], form), _Entry()).topics[topic] = role

    def read(self, text: str) -> list[Mention]:
        """All mentions of a text, in its order.

        Nothing that is said reaches over a full stop, so sentences are read one by one; and as a dialogue
        repeats what it knows again and again, a sentence that was read is remembered.
        """
        found: list[Mention] = []
        for sentence in _SENTENCE.finditer(text):
            at = sentence.start()
            found += [
                replace(mention, place=(mention.place[0] + at, mention.place[1] + at)) if at else mention
                for mention in self._remembered(sentence.group())
            ]
        return found

    def _sentence(self, text: str) -> tuple[Mention, ...]:
        said = words(text)
        spans = self._spans(said)
        covering = {at: span for span in spans for at in range(span.start, span.end)}
        found: list[tuple[_Span, Mention]] = []
        claimed: set[int] = set()  # details that belong to a thing of another topic: striped trousers
        for span in spans:
            for topic, role in span.entry.topics.items():
                found.append((span, self._mention(text, said, covering, span, topic, role, claimed)))
        return tuple(
            mention
            for span, mention in found
            if not (span.entry.detail and mention.topic == "cut" and span.start in claimed)
        )

    def _spans(self, said: Sequence[Word]) -> list[_Span]:
        spans, at = [], 0
        while at < len(said):
            for length in range(min(self._longest, len(said) - at), 0, -1):
                entry = self._entries.get(tuple(word.text for word in said[at : at + length]))
                if entry is not None:
                    spans.append(_Span(at, at + length, entry))
                    at += length
                    break
            else:
                at += 1
        return spans

    def _mention(
        self,
        text: str,
        said: Sequence[Word],
        covering: dict[int, _Span],
        span: _Span,
        topic: str,
        role: str,
        claimed: set[int],
    ) -> Mention:
        place = said[span.start].start, said[span.end - 1].end
        surface = text[place[0] : place[1]]
        negated = role == "absent" or self._negated(said, covering, span)
        thing = "" if role == "frame" else self.lexicon.thing(phrase(surface))
        details: set[tuple[str, str]] = set()
        others: set[str] = set()
        if span.entry.detail:
            details.add(span.entry.detail)
            thing = "" if topic in self.lexicon.topics_of_details.values() else topic
        elif role == "frame":
            others = self._held(said, covering, span)
        else:
            before, others = self._before(said, covering, span)
            near = before + (self._after(said, covering, span) if topic in self._detailed else [])
            details = {detail.entry.detail for detail in near if detail.entry.detail}
            if topic in self._detailed and "upper" not in span.entry.topics:
                claimed.update(detail.start for detail in near)
        return Mention(
            topic, thing, surface, negated, role == "settled", frozenset(details), frozenset(others), place
        )

    def _before(
        self, said: Sequence[Word], covering: dict[int, _Span], head: _Span
    ) -> tuple[list[_Span], set[str]]:
        """Details and other words of the noun phrase that ends in the head."""
        details: list[_Span] = []
        others: set[str] = set()
        at = head.start - 1
        while at >= 0 and head.start - at <= 8:
            span = covering.get(at)
            if span is not None:
                if span.entry.detail is None:
                    break
                details.append(span)
                at = span.start - 1
                continue
            word = said[at].text
            if word in _JOINS:
                joined = covering.get(at - 1)
                if joined is None or joined.entry.detail is None or said[joined.end - 1].text.endswith("s"):
                    break  # a noun ends what stands before it: "white stripes, dark trousers"
            elif word in _BREAKS:
                break
            elif word not in self.lexicon.stopwords:
                others.add(word)
            at -= 1
        return details, others

    def _after(self, said: Sequence[Word], covering: dict[int, _Span], head: _Span) -> list[_Span]:
        """Details said of the head: ``hair is long and black``, ``a coat in dark red``."""
        at = head.end
        if at >= len(said) or said[at].text not in _LINKS:
            return []
        details: list[_Span] = []
        while at < len(said):
            span = covering.get(at)
            if span is not None and span.entry.detail is not None:
                details.append(span)
                at = span.end
            elif span is not None and set(span.entry.topics.values()) == {"frame"}:
                at = span.end
            elif span is None and (said[at].text in _PASSED_AFTER_LINK or said[at].text in _JOINS):
                at += 1
            else:
                break
        following = covering.get(at)
        touches = bool(details) and details[-1].end == at
        if touches and following is not None and following.is_head:
            return []  # the details belong to what follows: ``hair in a black cap``
        return details

    def _held(self, said: Sequence[Word], covering: dict[int, _Span], frame: _Span) -> set[str]:
        """What stands after ``is holding`` and is on no list."""
        found: set[str] = set()
        for at in range(frame.end, min(frame.end + 6, len(said))):
            word = said[at].text
            if at in covering and covering[at].is_head or word in (".", ",", "and", "while", "with", "in"):
                break
            if at not in covering and word not in self.lexicon.stopwords:
                found.add(word)
        return found

    def _negated(self, said: Sequence[Word], covering: dict[int, _Span], span: _Span) -> bool:
        """Whether a negation reaches the span: ``no hat``, ``not wearing a hat or glasses``."""
        for at in range(span.start - 1, max(-1, span.start - 1 - _NEGATION_REACH), -1):
            word = said[at].text
            if word in self.lexicon.negations:
                return True
            if word == "," and _listed_with_or(said, covering, at + 1):
                continue
            if word in (".", ",", "but", "and", "with"):
                return False
            if at in covering and covering[at].is_head and said[at + 1].text not in ("or", "nor", ","):
                frames = covering[at].entry.topics.values()
                if "frame" not in frames:
                    return False
        return False

    def facts(self, text: str) -> frozenset[tuple[str, str]]:
        """What the text says, as (topic, canonical word), with what the words imply (a rucksack is a bag)."""
        facts: set[tuple[str, str]] = set()
        for mention in self.read(text):
            if mention.negated:
                facts.add((mention.topic, "none"))
                continue
            said = {mention.thing, *mention.others, *(word for _, word in mention.details)} - {""}
            implied = {self.lexicon.implies[word] for word in said if word in self.lexicon.implies}
            facts.update((mention.topic, word) for word in said | implied)
        return frozenset(facts)

    def content(self, text: str) -> frozenset[str]:
        """The content words of a text, canonical where the lexicon knows them."""
        said = [word.text for word in words(text)]
        single = {word: self.lexicon.details.get((word,), ("", word))[1] for word in said}
        return frozenset(
            self.lexicon.things.get((word,), single[word])
            for word in said
            if word not in self.lexicon.stopwords and word not in (".", ",")
        )


def _listed_with_or(said: Sequence[Word], covering: dict[int, _Span], at: int) -> bool:
    """Whether ``at`` begins the rest of a list that ends with "or": ``without glasses, bag or scarf``."""
    if at not in covering or not covering[at].is_head:
        return False
    while at < len(said) and (said[at].text == "," or at in covering and covering[at].is_head):
        at += 1
    return at < len(said) and said[at].text in ("or", "nor")
