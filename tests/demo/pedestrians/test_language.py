"""Canonical answers, the static caption, and reading answers back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.language import (
    CANNOT_TELL,
    TOPIC_ATTRIBUTES,
    answer,
    parse_answer,
    static_caption,
)
from demo.pedestrians.words import SYNONYMS, with_article

#: What a picture can show, each attribute by itself: a value, hidden, or None.
visibles = st.fixed_dictionaries(
    {name: st.sampled_from([*values, CANNOT_TELL, None]) for name, values in ATTRIBUTES.items()}
)

ANNA = {
    "gender": "woman",
    "hair_length": "long",
    "hair_colour": "black",
    "upper_type": "jacket",
    "upper_colour": "red",
    "pattern": "striped",
    "sleeves": "long",
    "logo": "yes",
    "lower_type": "trousers",
    "lower_colour": "blue",
    "shoe_type": "sneakers",
    "shoe_colour": "white",
    "bag_type": "backpack",
    "bag_colour": "red",
    "hat_type": "cap",
    "hat_colour": "blue",
    "glasses": "sunglasses",
    "scarf": "scarf",
    "scarf_colour": "pink",
    "held": "phone",
    "action": "walking",
}


@pytest.mark.parametrize(
    ("topic", "changes", "sentence"),
    [
        ("gender", {}, "The person is a woman."),
        ("hair", {}, "The person has long black hair."),
        ("hair", {"hair_colour": CANNOT_TELL}, "The person has long hair."),
        ("hair", {"hair_length": None}, "The person has black hair."),
        ("hair", {"hair_length": CANNOT_TELL, "hair_colour": CANNOT_TELL}, "Cannot tell."),
        ("hair", {"hair_length": None, "hair_colour": CANNOT_TELL}, None),
        ("upper", {}, "The person wears a red jacket."),
        ("upper", {"upper_type": None}, "The person wears a red upper garment."),
        ("cut", {}, "The jacket is striped and has long sleeves."),
        ("cut", {"pattern": "plain", "sleeves": "short"}, "The jacket is plain and has short sleeves."),
        ("cut", {"upper_type": None, "pattern": None}, "The garment has long sleeves."),
        ("logo", {}, "There is a logo on the chest."),
        ("logo", {"logo": "no"}, "There is no logo on the chest."),
        ("logo", {"logo": CANNOT_TELL}, "Cannot tell."),
        ("lower", {}, "The person wears blue trousers."),
        ("lower", {"lower_type": "long skirt"}, "The person wears a long blue skirt."),
        ("shoes", {}, "The person wears white sneakers."),
        ("shoes", {"shoe_type": CANNOT_TELL}, "The person wears white shoes."),
        ("bag", {}, "The person carries a red backpack."),
        ("bag", {"bag_colour": None}, "The person carries a backpack."),
        ("bag", {"bag_type": "none", "bag_colour": None}, "The person carries no bag."),
        ("bag", {"bag_type": CANNOT_TELL, "bag_colour": None}, "Cannot tell."),
        ("bag", {"bag_type": None, "bag_colour": None}, None),
        ("hat", {}, "The person wears a blue cap."),
        ("hat", {"hat_type": "none"}, "The person wears no hat."),
        ("glasses", {}, "The person wears sunglasses."),
        ("glasses", {"glasses": "none"}, "The person wears no glasses."),
        ("scarf", {}, "The person wears a pink scarf."),
        ("scarf", {"scarf": "none"}, "The person wears no scarf."),
        ("held", {}, "The person holds a phone."),
        ("held", {"held": "umbrella"}, "The person holds an umbrella."),
        ("held", {"held": "nothing"}, "The person holds nothing."),
        ("held", {"held": None}, None),
        ("action", {}, "The person is walking."),
    ],
)
def test_canonical_answers(topic: str, changes: dict[str, str | None], sentence: str | None) -> None:
    assert answer(topic, {**ANNA, **changes}) == sentence


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({}, "A woman in a red jacket and blue trousers."),
        ({"lower_type": "long skirt"}, "A woman in a red jacket and a long blue skirt."),
        ({"gender": None, "upper_colour": CANNOT_TELL}, "A person in a jacket and blue trousers."),
        ({"upper_type": None, "upper_colour": None}, "A woman in blue trousers."),
        (dict.fromkeys(("upper_type", "upper_colour", "lower_type", "lower_colour")), "A woman."),
    ],
)
def test_static_caption(changes: dict[str, str | None], caption: str) -> None:
    assert static_caption({**ANNA, **changes}) == caption


@settings(deadline=None)  # machines under load are slow, not wrong
@given(visibles, st.sampled_from(list(TOPIC_ATTRIBUTES)))
def test_answers_are_read_back_as_they_were_meant(visible: dict[str, str | None], topic: str) -> None:
    names = TOPIC_ATTRIBUTES[topic]
    sentence = answer(topic, visible)
    if sentence is None:
        assert all(visible[name] in (None, CANNOT_TELL) for name in names)
        assert any(visible[name] is None for name in names)
        return
    absent = visible[names[0]] in ("none", "nothing")
    expected = (
        {names[0]: visible[names[0]]} if absent else {name: visible[name] or CANNOT_TELL for name in names}
    )
    if topic == "scarf" and expected["scarf"] == CANNOT_TELL and expected["scarf_colour"] != CANNOT_TELL:
        expected["scarf"] = "scarf"  # there is one kind of scarf: whose colour is seen, that is seen
    assert parse_answer(topic, sentence) == expected


@pytest.mark.parametrize(
    ("topic", "text", "values"),
    [
        ("gender", "It's a lady.", {"gender": "woman"}),
        (
            "hair",
            "She has ginger, shoulder-length hair",
            {"hair_length": "shoulder-length", "hair_colour": "red"},
        ),
        ("upper", "a tee shirt in navy", {"upper_type": "t-shirt", "upper_colour": "blue"}),
        ("cut", "The sleeves are short; it is plaid.", {"pattern": "checked", "sleeves": "short"}),
        ("cut", "A polka-dot, long-sleeved one.", {"pattern": "dotted", "sleeves": "long"}),
        ("logo", "No, there isn't.", {"logo": "no"}),
        ("logo", "Yes, an emblem.", {"logo": "yes"}),
        ("lower", "A long, flared red skirt.", {"lower_type": "long skirt", "lower_colour": "red"}),
        ("bag", "He is not carrying a bag", {"bag_type": "none"}),
        ("bag", "Yes, a crimson rucksack.", {"bag_type": "backpack", "bag_colour": "red"}),
        ("hat", "A woolly hat", {"hat_type": "beanie", "hat_colour": CANNOT_TELL}),
        ("glasses", "I can’t tell.", {"glasses": CANNOT_TELL}),
        ("held", "Nothing at all", {"held": "nothing"}),
        ("action", "He's jogging", {"action": "running"}),
        ("action", "Lovely weather today.", {}),
    ],
)
def test_free_answers_are_read(topic: str, text: str, values: dict[str, str]) -> None:
    assert parse_answer(topic, text) == values


def test_no_word_names_two_values() -> None:
    for name, values in ATTRIBUTES.items():
        words = [word for value in values for word in (value, *SYNONYMS.get(name, {}).get(value, ()))]
        assert len(words) == len(set(words)), name


def test_every_synonym_is_read_as_its_value() -> None:
    for topic, names in TOPIC_ATTRIBUTES.items():
        for name in set(names) - {"logo"}:
            for value in ATTRIBUTES[name]:
                for word in SYNONYMS.get(name, {}).get(value, ()):
                    assert parse_answer(topic, f"It is {with_article(word)}.")[name] == value, word
