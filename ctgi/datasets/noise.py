"""Damaged captions, flagged when a data set is loaded, never changed.

RSTPReid's annotations are known to hold characters of East Asian scripts, fragments of code, and one
sentence given to several people (github.com/NjtechCVLab/RSTPReid-Dataset, issue 5). Published figures were
reached with these captions in place, so they stay; a caption without words cannot be a query and is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

EMPTY, SCRIPT, CODE, SHARED, REPEATED = "empty", "script", "code", "shared", "repeated"
"""No words; characters of another script than Latin; what looks like code; the same words for another
person, too, and so many of them that it can hardly be true of both; the very words that this picture has
already, which makes one query two."""

LONG = 10
"""Words from which a shared caption is odd: a short one may honestly fit several people."""

_CODE = re.compile(
    r"[{}<>=\\|_]|\w\(\)|\b(?:print|len|str|int|range|self|def|return|import)\s?\(|&#?\w+;|://"
    r"|[\x00-\x08\x0e-\x1f\x7f\ufffd]"
)


@dataclass(frozen=True)
class Written:
    """One caption as it stands in a file: where, about whom, what, and of which picture."""

    where: str
    identity: int
    text: str
    picture: str


@dataclass(frozen=True)
class Noise:
    """A caption that looks damaged: `kinds` of the names above."""

    where: str
    text: str
    kinds: tuple[str, ...]


def find_noise(captions: Sequence[Written]) -> tuple[Noise, ...]:
    """Every caption that looks damaged, in their order."""
    people: defaultdict[str, set[int]] = defaultdict(set)
    for caption in captions:
        people[_same(caption.text)].add(caption.identity)
    found = []
    met: set[tuple[str, str]] = set()
    for caption in captions:
        kinds = kinds_of(caption.text)
        words = (caption.picture, caption.text.strip())
        if words in met and kinds != (EMPTY,):
            kinds = (*kinds, REPEATED)
        met.add(words)
        if len(caption.text.split()) >= LONG and len(people[_same(caption.text)]) > 1:
            kinds = (*kinds, SHARED)
        if kinds:
            found.append(Noise(caption.where, caption.text, kinds))
    return tuple(found)


def kinds_of(text: str) -> tuple[str, ...]:
    """What is odd about one caption, seen alone: of "empty", "script", "code"."""
    if not any(character.isalnum() for character in text):
        return (EMPTY,)
    script = not text.isascii() and any(_foreign(character) for character in text)
    code = _CODE.search(text) is not None
    return tuple(kind for kind, there in ((SCRIPT, script), (CODE, code)) if there)


def summary(noise: Sequence[Noise]) -> str:
    """One line for people, "" where there is nothing to say."""
    if not noise:
        return ""
    counts = Counter(kind for item in noise for kind in item.kinds)
    words = {
        EMPTY: "without words (left out)",
        SCRIPT: "with another script",
        CODE: "with what looks like code",
        SHARED: "that describe several people in the same long sentence",
        REPEATED: "that repeat a caption of their picture word for word",
    }
    parts = ", ".join(f"{counts[kind]} {phrase}" for kind, phrase in words.items() if counts[kind])
    worst = min(noise, key=lambda item: item.kinds == (SHARED,))
    return f"captions to be wary of: {parts}; for example {worst.where}: {worst.text[:60]!r}"


def _same(text: str) -> str:
    """Captions that differ in case, spaces and the full stop only are the same."""
    return " ".join(text.casefold().split()).rstrip(".")


def _foreign(character: str) -> bool:
    if unicodedata.east_asian_width(character) in "WF":
        return True
    return character.isalpha() and not unicodedata.name(character, "").startswith("LATIN")
