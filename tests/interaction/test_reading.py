"""What texts say about the facets: things, details, negation, doubt, synonyms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.interaction.reading import Reading, read_query
from ctgi.interaction.vocabulary import default_facets, default_vocabulary

FACETS = default_facets()
PLACE = {facet.key: number for number, facet in enumerate(FACETS)}


def values(text: str) -> dict[str, set[str]]:
    """Facet -> the values that fit what a text says."""
    return {
        FACETS[said.facet].key: {
            value
            for value, weight in zip(FACETS[said.facet].values, said.weights, strict=True)
            if weight == 1
        }
        for said in read_query(text, FACETS).says
    }


def doubt(text: str, key: str) -> float:
    said = read_query(text, FACETS).about(PLACE[key])
    assert said is not None, f"{text!r} says nothing about {key}"
    return said.doubt


@pytest.mark.parametrize(
    ("text", "key", "fits"),
    [
        ("a lady in a crimson anorak", "upper/colour", {"red"}),
        ("a lady in a crimson anorak", "upper/kind", {"jacket"}),
        ("he carries a rucksack and wears trainers", "bag/kind", {"backpack"}),
        ("he carries a rucksack and wears trainers", "shoes/kind", {"sneakers"}),
        ("short, close-cropped grey hair", "hair/length", {"short"}),
        ("a black and white striped shirt", "upper/colour", {"black", "white"}),
        ("a red or orange scarf", "scarf/colour", {"red", "orange"}),
        ("a long green skirt", "lower/kind", {"long skirt"}),
        ("grey shorts", "lower/kind", {"shorts"}),
        ("grey shorts", "lower/colour", {"grey"}),
        ("her hair is long and black", "hair/colour", {"black"}),
        ("a bald man", "hair/length", {"bald"}),
        ("with short sleeves and shoulder-length red hair", "cut/sleeves", {"short sleeves"}),
        ("with short sleeves and shoulder-length red hair", "hair/length", {"shoulder length"}),
        ("holding an umbrella", "held/kind", {"umbrella"}),
        ("she is on the phone, walking", "action/kind", {"walking"}),
    ],
)
def test_things_and_details_in_other_words(text: str, key: str, fits: set[str]) -> None:
    assert values(text)[key] == fits


@pytest.mark.parametrize(
    ("text", "key", "fits"),
    [
        ("no hat", "hat/kind", {"none"}),
        ("a hatless man", "hat/kind", {"none"}),
        ("without a bag or glasses", "bag/kind", {"none"}),
        ("without a bag or glasses", "glasses/kind", {"none"}),
        ("he was not wearing glasses", "glasses/kind", {"none"}),
        ("he carried nothing", "held/kind", {"nothing"}),
        ("long sleeves, empty-handed", "held/kind", {"nothing"}),
        ("no sunglasses", "glasses/kind", {"glasses", "none"}),
        ("there is no logo", "logo/kind", {"none"}),
    ],
)
def test_what_is_said_to_be_absent_is_a_value(text: str, key: str, fits: set[str]) -> None:
    assert values(text)[key] == fits
    said = read_query(text, FACETS).about(PLACE[key])
    assert said is not None and said.negated


def test_a_denied_colour_leaves_every_other() -> None:
    said = read_query("not a red coat", FACETS).about(PLACE["upper/colour"])
    assert said is not None and said.negated and said.words == "not a red coat"
    of = dict(zip(FACETS[said.facet].values, said.weights, strict=True))
    assert of.pop("red") == 0 and of.pop("cannot tell") == 0 and set(of.values()) == {1.0}


def test_a_loose_word_fits_every_kind_and_a_neighbour_half() -> None:
    bag = read_query("a green bag", FACETS).about(PLACE["bag/kind"])
    assert bag is not None and bag.weights[FACETS[bag.facet].values.index("none")] == 0
    assert bag.weights.sum() == len(FACETS[bag.facet].values) - 2
    jeans = read_query("blue jeans", FACETS).about(PLACE["lower/kind"])
    assert jeans is not None
    of = dict(zip(FACETS[jeans.facet].values, jeans.weights, strict=True))
    assert of["jeans"] == 1 and of["trousers"] == 0.5 and of["skirt"] == 0


@pytest.mark.parametrize("text", ["something on top", "a person", "", "!?", "the weather was fine"])
def test_what_says_nothing_is_read_as_nothing(text: str) -> None:
    assert read_query(text, FACETS).says == ()


def test_doubt_reaches_its_clause_and_no_further() -> None:
    text = "A man in a red coat, maybe with a hat, carrying a bag."
    assert doubt(text, "hat/kind") == 0.5 and doubt(text, "upper/kind") == 0 and doubt(text, "bag/kind") == 0
    text = "He wore a cap and blue jeans, I think. His shoes were white."
    assert doubt(text, "hat/kind") == doubt(text, "lower/colour") == 0.2 and doubt(text, "shoes/colour") == 0
    assert doubt("It was, I think, a green scarf.", "scarf/colour") == 0.2


def test_not_sure_doubts_and_does_not_deny() -> None:
    said = read_query("I am not sure whether he had a hat", FACETS).about(PLACE["hat/kind"])
    assert said is not None and not said.negated and said.doubt == 0.6
    assert said.weights[FACETS[said.facet].values.index("none")] == 0


@pytest.mark.parametrize(
    "text", ["his shoes were not visible", "I did not see his shoes", "no idea about shoes"]
)
def test_what_was_not_seen_is_not_said(text: str) -> None:
    assert read_query(text, FACETS).about(PLACE["shoes/kind"]) is None


def test_the_words_are_the_texts_own() -> None:
    says = {
        FACETS[said.facet].key: said.words
        for said in read_query("A lady in a Crimson  anorak, no hat", FACETS).says
    }
    assert says["upper/colour"] == "Crimson anorak" and says["hat/kind"] == "no hat"


def test_other_facets_in_another_order_get_their_own_values() -> None:
    some = (FACETS[PLACE["hat/kind"]], FACETS[PLACE["gender/kind"]])
    reading = read_query("a woman in a red cap and boots", some)
    assert {some[said.facet].key for said in reading.says} == {"hat/kind", "gender/kind"}
    assert all(len(said.weights) == len(some[said.facet].values) for said in reading.says)


def test_every_value_is_read_back_from_its_own_name() -> None:
    vocabulary = default_vocabulary()
    for number, facet in enumerate(FACETS):
        entry = vocabulary.words(number)
        for value in facet.values[:-1]:
            if entry.detail is None and value not in (entry.absent, "other"):
                held = "holding a " if facet.topic == "held" else ""
                found = [f for f in vocabulary.find(f"{held}{value}") if f.facet == number]
                assert found and found[0].weights[facet.values.index(value)] == 1, (facet.key, value)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    reading = read_query(text, FACETS)
    assert isinstance(reading, Reading) and len({said.facet for said in reading.says}) == len(reading.says)
    for said in reading.says:
        assert said.weights.shape == (len(FACETS[said.facet].values),) and said.weights[-1] == 0
        assert 0 < said.weights.max() <= 1 and 0 <= said.doubt < 1
