"""What a hit's answers make of a query, detail by detail."""

from __future__ import annotations

import numpy as np

from ctgi.interaction.dossier import Answer, Dossiers
from ctgi.interaction.dossier_store import packed_answers
from ctgi.interaction.explain import Verdict, explain
from ctgi.interaction.reading import read_query
from ctgi.interaction.vocabulary import default_facets

FACETS = default_facets()


def dossier(**told: dict[str, float]) -> Dossiers:
    """One picture, "a": facet ("upper_colour") -> value -> probability; the rest it cannot tell."""
    tables = []
    for facet in FACETS:
        values = told.get(facet.key.replace("/", "_"), {"cannot tell": 1.0})
        tables.append(np.array([[values.get(value, 0.0) for value in facet.values]], np.float32))
    said = packed_answers(
        [Answer("upper", "The person wears a red jacket.", 0.9), Answer("shoes", "Cannot tell.", 0.8)]
    )
    return Dossiers(FACETS, ("a",), tuple(tables), said=(said,))


def test_each_detail_has_its_verdict_and_the_answer_it_rests_on() -> None:
    held = dossier(
        upper_colour={"red": 0.8, "pink": 0.1, "cannot tell": 0.1},
        upper_kind={"jacket": 0.9, "coat": 0.1},
        hat_kind={"cap": 0.85, "none": 0.15},
    )
    reading = read_query("a crimson anorak, no hat, white trainers, maybe with a bag", FACETS)
    found = {(detail.words, detail.about): detail for detail in explain(held, "a", reading)}
    colour = found["crimson anorak", "upper/colour"]
    assert (
        colour.verdict is Verdict.SUPPORTS
        and colour.seen == "red"
        and abs(colour.probability - 0.8 / 0.9) < 1e-6
    )
    assert colour.answer == "The person wears a red jacket."
    hat = found["no hat", "hat/kind"]
    assert hat.verdict is Verdict.CONTRADICTS and hat.seen == "cap" and abs(hat.probability - 0.15) < 1e-6
    shoes = [detail for detail in found.values() if detail.about.startswith("shoes")]
    assert len(shoes) == 2 and all(d.verdict is Verdict.UNSEEN and d.answer == "Cannot tell." for d in shoes)
    assert found["bag", "bag/kind"].doubt == 0.5


def test_a_stranger_was_not_asked() -> None:
    reading = read_query("a red coat", FACETS)
    assert {(d.verdict, d.answer) for d in explain(dossier(), "b", reading)} == {(Verdict.UNSEEN, "")}
    assert explain(dossier(), "a", read_query("hello", FACETS)) == ()
