"""A search as a conversation: the service asks what splits the candidates best, the person answers.

A conversation is a value: every answer makes a new one, and taking an answer back is dropping its last turn.
What is known of the person is one reading, the newest word about each facet; it and the similarity give the
candidates' posterior, the posterior their order and the next question. No input or output happens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.questions import Floats, Worth, entropy, expected_answers, posterior, worth_asking
from ctgi.interaction.reading import Reading, Said, read_query
from ctgi.interaction.soft import join, log_likelihood
from ctgi.interaction.vocabulary import default_vocabulary
from ctgi.interaction.wording import asked, thing

#: Expected information (nats) below which nothing is asked any more.
LEAST_GAIN = 0.02
#: Values that are offered by number, and how probable they must be; others can be said in words.
MOST_CHOICES, LEAST_SHARE = 9, 0.005


@dataclass(frozen=True)
class Choice:
    """A value that can be chosen, and how probable that answer is held to be."""

    value: int
    text: str
    share: float


@dataclass(frozen=True)
class Asked:
    """A question: its facet, how it is put, what can be chosen (the likeliest first), its worth in nats."""

    facet: int
    text: str
    choices: tuple[Choice, ...]
    gain: float


@dataclass(frozen=True, eq=False)
class Turn:
    """One thing that was said or asked: `words` as the person put it, `facet` where it answers a question,
    `similarity` (N,) where the words changed what the candidates are compared with."""

    words: str
    says: tuple[Said, ...] = ()
    facet: int | None = None
    similarity: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Conversation:
    """Where a conversation stands.

    Attributes:
        dossiers: of the N candidates.
        similarity: float32 (N,), of the query with each.
        query: the description as first given, and `reading` what it says.
        config: temperature, weight and doubt of `soft`.
        turns: what happened since.
    """

    dossiers: Dossiers
    similarity: NDArray[np.float32]
    query: str
    reading: Reading
    config: MTIConfig
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        if len(self.dossiers) != len(self.similarity) or not len(self.dossiers):
            raise CtgiError(
                f"a conversation got {len(self.dossiers)} dossiers and {len(self.similarity)} similarities; "
                "give one of each for at least one candidate"
            )

    # What is known

    @cached_property
    def known(self) -> Reading:
        """The newest word about each facet."""
        newest = {said.facet: said for said in self.reading.says}
        for turn in self.turns:
            newest |= {said.facet: said for said in turn.says}
        return Reading(tuple(newest.values()))

    @cached_property
    def weights(self) -> Floats:
        """The posterior over the candidates, float64 (N,)."""
        similarity = next(
            (t.similarity for t in reversed(self.turns) if t.similarity is not None), self.similarity
        )
        likelihood = log_likelihood(self.dossiers, self.known, self.config)
        return posterior(join(similarity, likelihood, self.config) / self.config.temperature)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The candidates, most probable first; of equal ones the first stays first."""
        return np.argsort(-self.weights, kind="stable")

    @cached_property
    def open_nats(self) -> float:
        """The entropy of the posterior: what is left to be known, in nats."""
        return float(entropy(self.weights))

    @property
    def description(self) -> str:
        """The query and all that was said in free words since."""
        return ". ".join([self.query, *(turn.words for turn in self.turns if turn.facet is None)])

    # What to ask

    @cached_property
    def settled(self) -> frozenset[int]:
        """Facets that are not asked about (again): those that were, those that the person has spoken of
        plainly, and what changes from one picture of a person to the next."""
        passing = {n for n, f in enumerate(self.dossiers.facets) if f.topic in default_vocabulary().passing}
        plain = {s.facet for s in self.known.says if s.doubt < 0.5 and s.weights.sum() < 2}
        return frozenset(passing | plain | {turn.facet for turn in self.turns if turn.facet is not None})

    @cached_property
    def worths(self) -> list[Worth]:
        """Every facet that is not settled, the most telling first."""
        return worth_asking(self.dossiers, self.weights, self.config.doubt, self.settled)

    @property
    def question(self) -> Asked | None:
        """The question worth asking now, or None where none is worth the trouble."""
        if not self.worths or self.worths[0].gain < LEAST_GAIN:
            return None
        return self.about(self.worths[0].facet, self.worths[0].gain)

    def about(self, facet: int, gain: float = 0.0) -> Asked:
        """The question about a facet, with the choices that the candidates leave open."""
        of, prior = self.dossiers.facets[facet], self.dossiers.prior[facet]
        table = self.dossiers.probability[facet]
        shares = self.weights @ expected_answers(table, prior, self.weights, self.config.doubt)
        told = np.argsort(-shares[:-1], kind="stable")[:MOST_CHOICES]
        likely = [int(v) for rank, v in enumerate(told) if rank < 2 or shares[v] >= LEAST_SHARE]
        choices = tuple(Choice(v, of.values[v], float(shares[v])) for v in likely)
        return Asked(facet, asked(of), choices, gain)

    # What was said

    def chose(self, facet: int, value: int) -> Conversation:
        """The person answers a question with one of its facet's values."""
        of = self.dossiers.facets[facet]
        text = of.values[value]
        weights = np.zeros(len(of.values), np.float32)
        weights[value] = 1.0
        says = [Said(facet, weights, words=text)]
        if of.name != "kind":  # what has a colour is there: "red" says that there is a bag
            implied = read_query(f"{text} {thing(of)}", self.dossiers.facets).says
            says += [one for one in implied if one.facet != facet and self.known.about(one.facet) is None]
        return self._and(Turn(text, tuple(says), facet))

    def could_not_tell(self, facet: int) -> Conversation:
        """The person does not know; it is not asked again."""
        return self._and(Turn("cannot tell", facet=facet))

    def told(
        self,
        words: str,
        says: Sequence[Said],
        *,
        facet: int | None = None,
        similarity: NDArray[np.float32] | None = None,
    ) -> Conversation:
        """The person says something in free words, with `facet` in answer to its question; `similarity` (N,)
        is that of `description` with them."""
        return self._and(Turn(words, tuple(says), facet, similarity))

    def undone(self) -> Conversation:
        """Without the last turn; without any turn, itself."""
        return replace(self, turns=self.turns[:-1])

    def _and(self, turn: Turn) -> Conversation:
        return replace(self, turns=(*self.turns, turn))


def heard(words: str, dossiers: Dossiers, facet: int | None) -> tuple[Said, ...]:
    """What free words say, read as an answer to the question about `facet` where they can be: "dark blue",
    "no", "a cap, I think"."""
    says = read_query(words, dossiers.facets).says
    if facet is None or any(said.facet == facet for said in says):
        return says
    completed = read_query(f"{words} {thing(dossiers.facets[facet])}", dossiers.facets).about(facet)
    return says if completed is None else (*says, replace(completed, words=words))
