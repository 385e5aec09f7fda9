"""Words: how a text is cut into them, and which of them mean the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import yaml

#: A word of a text; ``start`` and ``end`` are its place in the characters of the text.
_WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
#: What ends a sentence or its part.
PAUSES = ".!?;:\n"


@dataclass(frozen=True)
class Word:
    """One word in lower case, or a pause: ``,`` (also brackets and dashes) or ``.`` (also ``!?;:``)."""

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """Cut a text into words and pauses; hyphens separate words, apostrophes do not."""
    lowered = text.replace("\u2019", "'").replace("\u2018", "'")
    found = []
    for match in _WORD.finditer(lowered):
        token = match.group().lower()
        if token in ("-", "'", '"'):
            continue
        if not token[0].isalnum() and token[0] != "_":
            token = "." if token in PAUSES else ","
        found.append(Word(token, match.start(), match.end()))
    return found


def phrase(text: str) -> tuple[str, ...]:
    """A cue as a tuple of words: ``wide-brimmed hat`` is three."""
    return tuple(word.text for word in words(text))


def plurals(word: str) -> tuple[str, ...]:
    """The word and its regular plural: box, boxes; boot, boots; lady, ladies."""
    if word.endswith(("s", "x", "ch", "sh")):
        return (word, word + "es") if not word.endswith("s") or word.endswith("ss") else (word,)
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word, word[:-1] + "ies"
    return word, word + "s"


@dataclass(frozen=True)
class Lexicon:
    """What words mean. All keys are phrases (tuples of words), all values canonical words."""

    version: int
    details: Mapping[tuple[str, ...], tuple[str, str]]  # phrase -> (kind of detail, canonical)
    topics_of_details: Mapping[str, str]
    things: Mapping[tuple[str, ...], str]
    implies: Mapping[str, str]
    negations: frozenset[str]
    doubts: tuple[tuple[str, ...], ...]
    stopwords: frozenset[str]

    def thing(self, cue: tuple[str, ...]) -> str:
        """The canonical name of a thing; a name without synonyms is its own."""
        return self.things.get(cue) or " ".join(cue)

    def doubtful(self, text: str) -> bool:
        """Whether a text says that something could not be seen, or is a guess."""
        said = phrase(text)
        return any(
            said[at : at + len(doubt)] == doubt
            for at, word in enumerate(said)
            for doubt in self._doubts_by_first.get(word, ())
        )

    @cached_property
    def _doubts_by_first(self) -> Mapping[str, Sequence[tuple[str, ...]]]:
        by_first: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for doubt in self.doubts:
            by_first[doubt[0]].append(doubt)
        return by_first


@cache
def default_lexicon() -> Lexicon:
    """The lexicon that is shipped (``lexicon.yaml``)."""
    path = files("ctgi.captioning") / "lexicon.yaml"
    return _lexicon(yaml.safe_load(path.read_text(encoding="utf-8")))


def _lexicon(data: Mapping[str, Any]) -> Lexicon:
    details: dict[tuple[str, ...], tuple[str, str]] = {}
    for kind, names in data["details"].items():
        for canonical, synonyms in names.items():
            for name in _inflected([canonical, *synonyms]):
                details[name] = (kind, canonical)
    things: dict[tuple[str, ...], str] = {}
    for canonical, synonyms in data["things"].items():
        for name in _inflected([canonical, *synonyms]):
            things[name] = canonical
    return Lexicon(
        version=int(data["version"]),
        details=details,
        topics_of_details=dict(data["topics_of_details"]),
        things=things,
        implies=dict(data["implies"]),
        negations=frozenset(data["negations"]),
        doubts=tuple(phrase(doubt) for doubt in data["doubts"]),
        stopwords=frozenset(data["stopwords"]),
    )


def _inflected(names: Iterable[str]) -> set[tuple[str, ...]]:
    return {(*cue[:-1], form) for cue in map(phrase, names) for form in plurals(cue[-1])}
