"""The offline Reconstructor: rules instead of a model, so the same interview gives the same caption for ever.

T_s (or the query) is kept as it stands; behind it come the kept answers as sentences, in the order in which
one looks at a person, the subject a pronoun, sentences of one kind joined. What the text already says is not
said again: of a half-known thing ("a rucksack") only the new detail is told ("The rucksack is red."), and
where text and answer disagree the text stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ctgi.captioning.lexicon import words
from ctgi.captioning.pool import Coverage, QuestionPool, default_pool
from ctgi.captioning.reading import Mention
from ctgi.captioning.statements import statement
from ctgi.captioning.transcript import Pair

_ORDER = tuple("gender hair upper lower shoes hat glasses scarf cut logo bag held action".split())
_SUBJECT = (
    r"(?:the|this|a)\s+(?:person|individual|subject|pedestrian|figure|woman|man|lady|girl|boy|guy|gentleman)"
)
_PRESENT = {"is wearing": "wears", "is carrying": "carries", "is holding": "holds"}
_PREDICATE = re.compile(
    r"^(She|He|The person) (is wearing|is carrying|is holding|wears|carries|holds|has|is) ([^.,;!?]+)\.$"
)
_MOST_IN_A_LIST = 4


class Composer:
    """A deterministic Reconstructor that needs no model."""

    def __init__(self, pool: QuestionPool | None = None) -> None:
        self._pool = pool or default_pool()

    @property
    def name(self) -> str:
        return "composer@1"

    async def reconstruct(self, static_caption: str, pairs: Sequence[Pair]) -> str:
        """T_s, then what the kept pairs add; an unnamed "person" is named when an answer says who it is."""
        return self.compose(static_caption, pairs, name_subject=True)

    async def rewrite(self, query: str, pairs: Sequence[Pair]) -> str:
        """The query word for word, then what the kept pairs add."""
        return self.compose(query, pairs)

    def compose(self, text: str, pairs: Sequence[Pair], *, name_subject: bool = False) -> str:
        """The text and the new sentences; the text alone (trimmed) when there is nothing new."""
        text = text.strip()
        ordered = sorted((pair for pair in pairs if pair.kept), key=lambda pair: _place(pair.topic))
        if name_subject:
            text = self._named(text, ordered)
        pronoun = self._pronoun(text) or self._pronoun(self._gender_answer(ordered))
        added: list[str] = []
        for pair in ordered:
            sentence = self._addition(" ".join([text, *added]), text, pair)
            if sentence:
                added.append(with_pronoun(sentence, None if pair.topic == "gender" else pronoun))
        sentences = join_sentences(added)
        if not sentences:
            return text
        if not text:
            return " ".join(sentences)
        return " ".join([text if text[-1] in ".!?" else text + ".", *sentences])

    def _addition(self, said: str, text: str, pair: Pair) -> str:
        """What the pair adds to what is said, or an empty text. ``text`` is the part that may not be
        contradicted: T_s or the query."""
        reader = self._pool.reader
        sentence = statement(self._pool.question(pair.topic), pair.answer)
        about = [m for m in reader.read(sentence) if m.topic == pair.topic and not m.negated]
        if not about:
            return ""
        covered = self._pool.coverage(said)[pair.topic]
        if covered is Coverage.FULL:
            return ""
        if covered is Coverage.NONE:
            return sentence
        return self._new_details(sentence, reader.read(said), about, pair.topic)

    def _new_details(self, sentence: str, said: list[Mention], about: list[Mention], topic: str) -> str:
        """A sentence with only the kinds of detail the text leaves open, about the thing as it calls it."""
        known = [mention for mention in said if mention.topic == topic]
        kinds = {kind for mention in known for kind, _ in mention.details}
        new = list(dict.fromkeys(d for m in about for d in sorted(m.details) if d[0] not in kinds))
        if not new:
            return ""
        if topic == "cut":
            garment = next((m.surface.lower() for m in said if m.topic == "upper" and m.thing), None)
            return _cut_sentence(f"The {garment or 'upper garment'}", new)
        named = next((mention for mention in known if mention.thing), None)
        if named is None:
            return sentence
        asked = self._pool.question(topic).details
        adjectives = [word for kind, word in new if kind in asked]
        if not adjectives:
            return ""
        surface = "hair" if topic == "hair" else named.surface.lower()
        verb = "are" if _is_plural(surface) else "is"
        return f"The {surface} {verb} {' and '.join(adjectives)}."

    def _gender_answer(self, pairs: Iterable[Pair]) -> str:
        return " ".join(pair.answer for pair in pairs if pair.topic == "gender")

    def _pronoun(self, text: str) -> str | None:
        things = {m.thing for m in self._pool.reader.read(text) if m.topic == "gender" and not m.negated}
        return {"woman": "She", "man": "He"}.get(" ".join(sorted(things)))

    def _named(self, text: str, pairs: Sequence[Pair]) -> str:
        pronoun = self._pronoun(self._gender_answer(pairs))
        if pronoun is None or self._pronoun(text) is not None:
            return text
        noun = {"She": "woman", "He": "man"}[pronoun]
        return re.sub(
            r"\b(An?|The) (?:person|individual|pedestrian|figure)\b(?!['’])",
            lambda match: f"{match[1].removesuffix('n')} {noun}",
            text,
            count=1,
            flags=re.IGNORECASE,
        )


def _place(topic: str) -> int:
    return _ORDER.index(topic) if topic in _ORDER else len(_ORDER)


def _is_plural(surface: str) -> bool:
    last = words(surface)[-1].text
    return last.endswith("s") and not last.endswith("ss")


def _cut_sentence(garment: str, new: list[tuple[str, str]]) -> str:
    """``The shirt is striped and has long sleeves.``, or one half of it."""
    patterns = [word for kind, word in new if kind == "pattern"]
    sleeves = [word for kind, word in new if kind == "sleeves"]
    parts = [f"is {' and '.join(patterns)}"] if patterns else []
    parts += [f"has {sleeves[0]}"] if sleeves else []
    return f"{garment} {' and '.join(parts)}."


def with_pronoun(sentence: str, pronoun: str | None) -> str:
    """``The person wears`` becomes ``She wears``, ``the person's hair`` becomes ``her hair``."""
    if pronoun is None:
        return sentence
    possessive = {"She": "her", "He": "his"}[pronoun]
    sentence = re.sub(rf"\b{_SUBJECT}['’]s\b", possessive, sentence, flags=re.IGNORECASE)
    sentence, replaced = re.subn(rf"^{_SUBJECT}(?= \w)", pronoun, sentence, flags=re.IGNORECASE)
    if replaced:
        sentence = re.sub(r"\btheir\b", possessive, sentence)
    sentence = re.sub(r"^The hair\b", f"{possessive} hair", sentence)
    return sentence[0].upper() + sentence[1:]


def join_sentences(sentences: Sequence[str]) -> list[str]:
    """Join neighbours of one subject and verb ("She wears A, B and C."), then lone ones by two."""
    joined: list[str] = []
    waiting: _Clause | None = None
    for clause in _clauses(sentences):
        lone = bool(clause.verb) and len(clause.objects) == 1
        if waiting is not None and lone and waiting.subject == clause.subject:
            joined.append(f"{waiting} and {clause.verb} {clause.objects[0]}.")
            waiting = None
            continue
        if waiting is not None:
            joined.append(f"{waiting}.")
        waiting = clause if lone else None
        if not lone:
            joined.append(f"{clause}." if clause.verb else clause.objects[0])
    return [*joined, f"{waiting}."] if waiting is not None else joined


@dataclass(frozen=True)
class _Clause:
    """Subject, verb and objects; a sentence that is left as it is has no verb and is its own object."""

    subject: str
    verb: str
    objects: list[str]

    def __str__(self) -> str:
        *first, last = self.objects
        listed = f"{', '.join(first)} and {last}" if first else last
        return f"{self.subject} {self.verb} {listed}"


def _clauses(sentences: Sequence[str]) -> list[_Clause]:
    """Sentences of one subject and verb gathered, and long lists parted evenly."""
    clauses: list[_Clause] = []
    for sentence in sentences:
        parsed = _PREDICATE.match(sentence)
        if parsed is None or " and " in parsed.group(3) or len(parsed.group(3).split()) > 8:
            clauses.append(_Clause("", "", [sentence]))
            continue
        subject, verb, rest = parsed.group(1), _PRESENT.get(parsed.group(2), parsed.group(2)), parsed.group(3)
        if clauses and verb != "is" and (clauses[-1].subject, clauses[-1].verb) == (subject, verb):
            clauses[-1].objects.append(rest)
        else:
            clauses.append(_Clause(subject, verb, [rest]))
    return [part for clause in clauses for part in _parted(clause)]


def _parted(clause: _Clause) -> list[_Clause]:
    count = len(clause.objects)
    parts = -(-count // _MOST_IN_A_LIST)
    edges = [count * part // parts for part in range(parts + 1)]
    return [_Clause(clause.subject, clause.verb, clause.objects[start:end]) for start, end in pairwise(edges)]
