"""The facets (`facets.yaml`) and the words for their values: how a text becomes values of facets.

Reading a text rests on the captioning reader, which knows things, their details and negations; here what it
found is laid onto the values of the facets, without what a witness says of themselves, and doubt is added.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from ctgi.captioning.lexicon import Lexicon, default_lexicon, words
from ctgi.captioning.questions import load_questions
from ctgi.captioning.reading import Mention, Reader
from ctgi.interaction.dossier import CANNOT_TELL, Facet
from ctgi.interaction.doubt import Doubts
from ctgi.interaction.facet_words import FacetWords, Weights, extended, words_of
from ctgi.interaction.reading import Reading, Said
from ctgi.interaction.witness import without_witness

# Characters within which a detail, its thing and a "no" make one phrase.
_TOGETHER = 25


@dataclass(frozen=True)
class Found:
    """A value that a text names: weights over the facet's values, where the word for it stands, and the words
    that say it, such as a colour with its thing."""

    facet: int
    weights: Weights
    place: tuple[int, int]
    words: str
    negated: bool = False
    doubt: float = 0.0


class Vocabulary:
    """Facets and words. `version` names both, with a digest of the file."""

    def __init__(self, text: str, lexicon: Lexicon) -> None:
        data = yaml.safe_load(text)
        self.version = f"facets@{data['version']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self.passing = frozenset(data["passing"])
        _, questions, masks = load_questions()
        self._lexicon = extended(lexicon, data)
        self._words = tuple(words_of(entry, self._lexicon) for entry in data["facets"])
        self.facets = tuple(entry.facet for entry in self._words)
        self._of_topic: dict[str, list[int]] = defaultdict(list)
        for number, facet in enumerate(self.facets):
            self._of_topic[facet.topic].append(number)
        named = {q.topic: self._names(data, q.topic) for q in questions}
        without = {topic: tuple(more) for topic, more in data["without"].items()}
        asked = [
            replace(q, cues=q.cues + named[q.topic], absent=q.absent + without.get(q.topic, ()))
            for q in questions
        ]
        self.reader = Reader(asked, (*masks, *data["masks"]), self._lexicon)
        self._remembered = lru_cache(maxsize=2048)(self._read)
        self._doubts = Doubts(data["doubts"], data["unknown"], lexicon.doubts)

    def words(self, facet: int) -> FacetWords:
        """The words for the values of a facet, by its place in `facets`."""
        return self._words[facet]

    def read(self, text: str, facets: tuple[Facet, ...]) -> Reading:
        """What a text says about `facets`; what it says about others is left out."""
        return self._remembered(text, facets)

    def _read(self, text: str, facets: tuple[Facet, ...]) -> Reading:
        place = {facet.key: number for number, facet in enumerate(facets)}
        by_facet: dict[int, list[Found]] = defaultdict(list)
        for found in self.find(text):
            mine = self.facets[found.facet]
            number = place.get(mine.key)
            if number is not None:
                if facets[number].values != mine.values:
                    there = {value: weight for value, weight in zip(mine.values, found.weights, strict=True)}
                    laid = [there.get(value, 0.0) for value in facets[number].values]
                    found = replace(found, weights=np.array(laid, np.float32))
                by_facet[number].append(found)
        return Reading(tuple(_merged(number, some) for number, some in by_facet.items()))

    def find(self, text: str, *, exact: bool = False) -> list[Found]:
        """Every value that a text names, in its order; `exact` without the neighbours of a value."""
        seen, doubt_at = self._doubts.read(without_witness(text))
        details = list(self._details(seen))
        found: list[Found] = []
        for mention in self.reader.read(seen):
            doubt = doubt_at(mention.place)
            if doubt < 1.0:
                found += [replace(item, doubt=doubt) for item in self._of(seen, mention, details)]
        if exact:
            found = [replace(item, weights=np.floor(item.weights)) for item in found]
        return [item for item in found if item.weights.any() and not item.weights[:-1].all()]

    def unknowing(self, text: str) -> bool:
        """Whether a text says anywhere that something is not known."""
        return self._doubts.unknowing(text)

    def denial(self, text: str, place: tuple[int, int]) -> int:
        """Where the word stands that denies what is named at `place`; its own beginning if there is none."""
        before = [word for word in words(text) if word.start < place[1]]
        return max((w.start for w in before if w.text in self._lexicon.negations), default=place[0])

    def _of(
        self, text: str, mention: Mention, details: Sequence[tuple[str, str, int, int]]
    ) -> Iterator[Found]:
        """The values of one mention: the thing it names and the details it gives."""
        mine = self._of_topic[mention.topic]
        said = {kind for kind, _ in mention.details} & {self._words[number].detail for number in mine}
        for number in mine:
            entry = self._words[number]
            names: dict[str, float] = {}
            place = mention.place
            if entry.detail is not None:
                for kind, word in mention.details:
                    if kind == entry.detail:
                        names |= entry.means.get(word) or (
                            {"other": 1.0} if "other" in entry.facet.values else {}
                        )
                        place = _nearest(details, kind, word, mention.place)
            if not names and (entry.detail is None or entry.absent):
                names = self._named(mention, entry)
            if not names:
                continue
            saying = self._phrase(text, place, mention)
            if not mention.negated:
                yield Found(number, entry.weights(names), place, saying)
            elif entry.detail in said or not said:
                denied = self._denied(entry, names)
                yield Found(number, entry.without(denied), place, saying, negated=True)

    def _named(self, mention: Mention, entry: FacetWords) -> dict[str, float]:
        """The values of the thing that a mention names; empty where it names none."""
        if entry.detail is not None and not mention.settled:
            return {value: 1.0 for value in entry.facet.values if mention.negated and _present(entry, value)}
        for _, word in mention.details:  # "a long red skirt" is a "long skirt"
            if f"{word} {mention.thing}" in entry.means:
                return dict(entry.means[f"{word} {mention.thing}"])
        known = entry.means.get(mention.thing)
        if known is not None:
            return dict(known)
        if mention.negated:  # "hatless", "empty-handed"
            return {value: 1.0 for value in entry.facet.values if _present(entry, value)}
        return {"other": 1.0} if (mention.thing or mention.others) and "other" in entry.facet.values else {}

    def _phrase(self, text: str, place: tuple[int, int], mention: Mention) -> str:
        """The words for people: detail and thing where they stand together, with the "no" before them."""
        begin, end = place
        if abs(begin - mention.place[0]) <= _TOGETHER:
            begin, end = min(begin, mention.place[0]), max(end, mention.place[1])
        if mention.negated:
            denial = self.denial(text, place)
            begin = denial if 0 <= begin - denial <= _TOGETHER else begin
        return " ".join(text[begin:end].split())

    def _denied(self, entry: FacetWords, names: Mapping[str, float]) -> dict[str, float]:
        """What "no X" denies: X and what is a kind of it, not what X is a kind of."""
        exact = {value for value, weight in names.items() if weight == 1.0}
        kinds = {value for value in names if self._lexicon.implies.get(value) in exact}
        return dict.fromkeys(exact | kinds, 1.0)

    def _details(self, text: str) -> Iterator[tuple[str, str, int, int]]:
        """(kind, canonical word, begin, end) of every detail that a text names."""
        said, longest = words(text), 4
        at = 0
        while at < len(said):
            for length in range(min(longest, len(said) - at), 0, -1):
                part = said[at : at + length]
                detail = self._lexicon.details.get(tuple(word.text for word in part))
                if detail is not None:
                    yield (*detail, part[0].start, part[-1].end)
                    at += length - 1
                    break
            at += 1

    def _names(self, data: Mapping[str, Any], topic: str) -> tuple[str, ...]:
        """The further names of things of a topic, as cues."""
        mine = [self._words[number] for number in self._of_topic[topic]]
        values = {thing for entry in mine if entry.detail is None for thing in entry.means}
        return tuple(word for thing, more in data["things"].items() if thing in values for word in more)


@cache
def default_vocabulary() -> Vocabulary:
    """The facets that are shipped, read once."""
    text = (files("ctgi.interaction") / "facets.yaml").read_text(encoding="utf-8")
    return Vocabulary(text, default_lexicon())


def default_facets() -> tuple[Facet, ...]:
    """The shipped facets."""
    return default_vocabulary().facets


def _present(entry: FacetWords, value: str) -> bool:
    return value not in (CANNOT_TELL, entry.absent)


def _merged(facet: int, some: Sequence[Found]) -> Said:
    """One statement of several about a facet: what agrees with all, or, where nothing does, with any."""
    weights = some[0].weights
    for found in some[1:]:
        both = weights * found.weights
        weights = both if both.any() else np.maximum(weights, found.weights)
    return Said(
        facet,
        weights,
        doubt=min(found.doubt for found in some),
        negated=all(found.negated for found in some),
        words=", ".join(dict.fromkeys(found.words for found in some)),
    )


def _nearest(
    details: Sequence[tuple[str, str, int, int]], kind: str, word: str, head: tuple[int, int]
) -> tuple[int, int]:
    """Where the detail of a thing stands: the nearest of its kind, before the thing rather than behind."""
    places = [(begin, end) for k, w, begin, end in details if (k, w) == (kind, word)]
    return min(
        places, key=lambda p: (head[0] - p[1]) if p[1] <= head[0] else 2 * (p[0] - head[0]), default=head
    )
