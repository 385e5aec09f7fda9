"""Why a picture is a hit: what its answers say to each thing that the query says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import Reading, Said


class Verdict(StrEnum):
    """What an answer makes of a detail."""

    SUPPORTS = "supports"
    CONTRADICTS = "contradicts"
    UNSEEN = "unseen"
    """The picture cannot tell, or was not asked."""


@dataclass(frozen=True)
class Detail:
    """One detail of a query beside what a picture answered.

    Attributes:
        words: the query's own.
        about: the facet, "upper/colour".
        verdict, probability: what the picture makes of it, and how probably the detail is true of it where it
            can tell (a support has 0.5 and more).
        seen: the most probable value by its answers; "" where it cannot tell.
        answer: the answer word for word; "" where none is stored.
        doubt: how much the query itself takes back.
    """

    words: str
    about: str
    verdict: Verdict
    probability: float
    seen: str
    answer: str
    doubt: float


def explain(dossiers: Dossiers, picture: str, reading: Reading) -> tuple[Detail, ...]:
    """Every detail of a reading beside what this picture's dossier says to it, in the order of the query."""
    mine = dossiers.of([picture])
    answers = {answer.topic: answer.text for answer in dossiers.answers(picture)}
    return tuple(_detail(mine, said, answers) for said in reading.says)


def _detail(mine: Dossiers, said: Said, answers: dict[str, str]) -> Detail:
    facet = mine.facets[said.facet]
    told, hidden = mine.probability[said.facet][0, :-1], float(mine.probability[said.facet][0, -1])
    answer = answers.get(facet.topic, "")
    if hidden > 0.5:
        return Detail(said.words, facet.key, Verdict.UNSEEN, 0.0, "", answer, said.doubt)
    fits = float(told @ said.weights[:-1]) / (1.0 - hidden)
    verdict = Verdict.SUPPORTS if fits >= 0.5 else Verdict.CONTRADICTS
    return Detail(said.words, facet.key, verdict, fits, facet.values[int(told.argmax())], answer, said.doubt)
