"""Conversations rehearsed with an answerer who is no person, to compare ways of choosing the next question.

The answerer says what it sees in one picture of the person who is looked for, or that it cannot tell. That
picture should not be among the candidates: its own dossier would agree with every answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ctgi.interaction.converse import Conversation

#: Facet -> the value (its place among the facet's values) that is seen, or None where it cannot be told.
Answerer = Callable[[int], int | None]
#: Conversation -> the facet to ask about, or None where there is nothing left to ask.
Picker = Callable[[Conversation], int | None]


def by_gain(talk: Conversation) -> int | None:
    """The facet with the largest expected information, however small."""
    worths = talk.worths
    return worths[0].facet if worths else None


def in_fixed_order(talk: Conversation) -> int | None:
    """The first facet of the list that is not settled."""
    left = [facet for facet in range(len(talk.dossiers.facets)) if facet not in talk.settled]
    return left[0] if left else None


def at_random(rng: np.random.Generator) -> Picker:
    """Any facet that is not settled, each as likely."""

    def pick(talk: Conversation) -> int | None:
        left = [facet for facet in range(len(talk.dossiers.facets)) if facet not in talk.settled]
        return left[int(rng.integers(len(left)))] if left else None

    return pick


def rehearse(talk: Conversation, answerer: Answerer, pick: Picker, rounds: int) -> list[Conversation]:
    """The conversation at its start and after each of `rounds` questions; the last one stands where there is
    nothing left to ask."""
    stages = [talk]
    for _ in range(rounds):
        facet = pick(talk)
        if facet is not None:
            value = answerer(facet)
            talk = talk.could_not_tell(facet) if value is None else talk.chose(facet, value)
        stages.append(talk)
    return stages
