"""Which pairs of an interview go into the caption (Sec. 3.4).

A pair is dropped as
  uncertain   when the answer says that something cannot be seen or guesses ("possibly"), or when the model
              itself gave the answer a smaller probability than ``min_probability``;
  irrelevant  when the answer does not speak about what was asked, or only says what is not there: captions
              say what is there;
  redundant   when everything the answer says (things and their own details, synonyms counted as the same,
              and what they imply) is already said by T_s or an answer kept before it.
All three are decided by the word lists and the model's own log-probabilities; no further call is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.questions import Question
from ctgi.captioning.statements import statement

UNCERTAIN, IRRELEVANT, REDUNDANT = "uncertain", "irrelevant", "redundant"


@dataclass(frozen=True)
class PairFilter:
    """Judges pairs one by one.

    ``min_probability`` is of the whole answer (exp of the summed token log-probabilities). It is low because
    a model that words its answers freely shares its probability between equal wordings; a model that was
    taught one wording deserves a higher one.
    """

    pool: QuestionPool
    min_probability: float = 0.1

    @property
    def name(self) -> str:
        """Part of a transcript's recipe."""
        return f"filter@1(p>={self.min_probability:g})"

    def reason(
        self, question: Question, answer: str, probability: float | None, known_text: str
    ) -> str | None:
        """Why the pair is dropped, or None where it is kept; ``known_text`` is T_s and the kept answers."""
        if not answer.strip() or self.pool.reader.lexicon.doubtful(answer):
            return UNCERTAIN
        if probability is not None and probability < self.min_probability:
            return UNCERTAIN
        said = statement(question, answer)
        if not self._speaks_about(question, said):
            return IRRELEVANT
        return REDUNDANT if self._says_nothing_new(question, said, known_text) else None

    def _speaks_about(self, question: Question, said: str) -> bool:
        about = [mention for mention in self.pool.reader.read(said) if mention.topic == question.topic]
        return any(not mention.negated for mention in about)

    def _says_nothing_new(self, question: Question, said: str, known_text: str) -> bool:
        """Whether every fact of ``said`` is one of ``known_text``; "she" is no news unless it was asked."""
        reader = self.pool.reader
        facts = {
            (topic, word)
            for topic, word in reader.facts(said)
            if word != "none" and (topic != "gender" or question.topic == "gender")
        }
        if facts:
            return facts <= reader.facts(known_text)
        return reader.content(said) <= reader.content(known_text)
