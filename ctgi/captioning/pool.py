"""The dynamic question pool (Sec. 3.4): what to ask next, given what is known."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from functools import cache, lru_cache
from pathlib import Path

from ctgi.captioning.lexicon import Lexicon, default_lexicon
from ctgi.captioning.questions import Question, load_questions
from ctgi.captioning.reading import Reader
from ctgi.errors import CtgiError


class Coverage(IntEnum):
    """How far a text speaks about a topic."""

    NONE = 0
    PART = 1  #: the thing is named, a detail that belongs to it is not ("a jacket")
    FULL = 2  #: nothing is left to ask ("a red jacket", "no hat")


class QuestionPool:
    """Questions in order, and the reader that tells what a text already says about each."""

    def __init__(
        self,
        questions: Sequence[Question],
        masks: Sequence[str] = (),
        *,
        version: int = 1,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.questions = tuple(questions)
        lexicon = lexicon or default_lexicon()
        self.reader = Reader(self.questions, masks, lexicon)
        self._remembered = lru_cache(maxsize=1024)(self._missing)
        digest = hashlib.sha256(repr((self.questions, tuple(masks))).encode()).hexdigest()[:8]
        #: Names the questions and word lists; a pool of one's own differs by the digest of its contents.
        self.version = f"questions@{version}-{digest}+lexicon@{lexicon.version}"

    @staticmethod
    def load(path: Path | str | None = None) -> QuestionPool:
        """The pool of a YAML file, or the one that is shipped; CtgiError for a file that is not one."""
        version, questions, masks = load_questions(path)
        return QuestionPool(questions, masks, version=version)

    def __iter__(self) -> Iterator[Question]:
        return iter(self.questions)

    def __len__(self) -> int:
        return len(self.questions)

    def question(self, topic: str) -> Question:
        """The question of a topic; CtgiError for an unknown one."""
        for question in self.questions:
            if question.topic == topic:
                return question
        known = ", ".join(question.topic for question in self.questions)
        raise CtgiError(f"question pool: no topic {topic!r}; topics are {known}")

    def coverage(self, text: str) -> dict[str, Coverage]:
        """Topic -> how far ``text`` speaks about it. What is said to be absent is fully spoken about."""
        mentions = self.reader.read(text)
        covered: dict[str, Coverage] = {}
        for question in self.questions:
            about = [mention for mention in mentions if mention.topic == question.topic]
            kinds = {kind for mention in about for kind, _ in mention.details}
            if not about:
                covered[question.topic] = Coverage.NONE
            elif any(m.negated or m.settled for m in about) or kinds.issuperset(question.details):
                covered[question.topic] = Coverage.FULL
            else:
                covered[question.topic] = Coverage.PART
        return covered

    def missing(self, text: str) -> list[Question]:
        """What ``text`` leaves open: topics it does not mention, then half-mentioned ones, by priority."""
        return list(self._remembered(text))

    def _missing(self, text: str) -> tuple[Question, ...]:
        covered = self.coverage(text)
        left = [question for question in self.questions if covered[question.topic] < Coverage.FULL]
        return tuple(sorted(left, key=lambda question: (covered[question.topic], question.priority)))

    def next(self, known_text: str, asked: Collection[str] = (), seed: int = 0) -> Question | None:
        """The next question of an interview, or None when the dialogue knows everything the pool asks.

        ``asked`` are topics, never asked twice. Topics the dialogue says nothing about come before half-known
        ones, priority 1 before 2. Six rounds cannot ask all of priority 2, so each picture (``seed``) starts
        at another place of that list: a corpus covers every topic equally.
        """
        left = [question for question in self.missing(known_text) if question.topic not in asked]
        if not left:
            return None
        covered = self.coverage(known_text)
        first = min((covered[question.topic], question.priority) for question in left)
        level = [question for question in self.questions if question.priority == first[1]]
        start = seed % len(level)
        turned = level[start:] + level[:start]
        candidates = {q.topic for q in left if (covered[q.topic], q.priority) == first}
        return next(question for question in turned if question.topic in candidates)


@cache
def default_pool() -> QuestionPool:
    """The shipped pool, read once."""
    return QuestionPool.load()
