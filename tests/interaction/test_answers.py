"""Answers to distributions: the text alone, and with the model's alternatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctgi.captioning.pool import default_pool
from ctgi.interaction.answers import read_answers
from ctgi.interaction.vocabulary import default_vocabulary
from ctgi.mllm.chat import ChatReply, Token

VOCABULARY = default_vocabulary()
QUESTIONS = {question.topic: question for question in default_pool()}
PLACE = {facet.key: number for number, facet in enumerate(VOCABULARY.facets)}
Parts = list[tuple[str, float, dict[str, float]]]


def read(topic: str, text: str, tokens: Parts | None = None) -> dict[str, dict[str, float]]:
    """Facet -> value -> probability, without what nothing is known of."""
    spelled = tokens and tuple(
        Token(token, math.log(p), tuple((other, math.log(q)) for other, q in {token: p, **top}.items()))
        for token, p, top in tokens
    )
    reply = ChatReply(text, 0.9, None, 1, 1, 0.1, tokens=spelled or None)
    tables = read_answers({topic: reply}, QUESTIONS, VOCABULARY)
    for table in tables:
        assert table.sum() == pytest.approx(1, abs=1e-6) and table.min() >= -1e-7
    return {
        facet.key: {value: float(p) for value, p in zip(facet.values, table, strict=True) if p > 1e-6}
        for facet, table in zip(VOCABULARY.facets, tables, strict=True)
        if table[-1] < 1
    }


@pytest.mark.parametrize(
    ("topic", "text", "key", "value"),
    [
        ("hat", "No.", "hat/kind", "none"),
        ("hat", "No, the person is not wearing a hat.", "hat/kind", "none"),
        ("bag", "Yes, the person is carrying a black backpack.", "bag/kind", "backpack"),
        ("bag", "Yes, the person is carrying a black backpack.", "bag/colour", "black"),
        ("bag", "The person does not appear to be carrying a bag.", "bag/kind", "none"),
        ("shoes", "Black boots.", "shoes/colour", "black"),
        ("held", "Nothing.", "held/kind", "nothing"),
        ("held", "The person is not holding anything.", "held/kind", "nothing"),
        ("held", "The person is holding a smartphone.", "held/kind", "phone"),
        ("hair", "The person has short, dark brown hair.", "hair/colour", "brown"),
        ("hair", "Short and curly.", "hair/length", "short"),
        ("upper", "The person is wearing a red striped shirt.", "cut/pattern", "striped"),
        ("gender", "The person in the picture is a woman.", "gender/kind", "woman"),
        ("glasses", "The person is not wearing glasses.", "glasses/kind", "none"),
        ("lower", "The person is wearing dark blue denim jeans.", "lower/kind", "jeans"),
        ("logo", "There is no visible logo on the chest.", "logo/kind", "none"),
        ("action", "The person is standing and looking at the camera.", "action/kind", "standing"),
    ],
)
def test_free_answers_are_read(topic: str, text: str, key: str, value: str) -> None:
    assert read(topic, text)[key] == {value: 1.0}


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("hat", "Cannot tell."),
        ("shoes", "The shoes are not visible in the picture."),
        ("bag", "It is unclear whether the person carries a bag."),
        ("scarf", ""),
        ("held", "I'm sorry, I can't help with that."),
    ],
)
def test_who_cannot_tell_says_nothing(topic: str, text: str) -> None:
    assert read(topic, text) == {}


def test_a_guess_keeps_part_of_cannot_tell() -> None:
    assert read("hat", "Possibly a cap.")["hat/kind"] == pytest.approx({"cap": 0.5, "cannot tell": 0.5})


def test_two_colours_share() -> None:
    colours = read("upper", "A black and white shirt.")["upper/colour"]
    assert colours == pytest.approx({"black": 0.5, "white": 0.5})


def test_a_kind_that_is_not_named_is_spread_over_those_there_are() -> None:
    kinds = read("hat", "Yes.")["hat/kind"]
    assert "none" not in kinds and len(set(kinds.values())) == 1 and len(kinds) == 5


CAP: Parts = [
    ("The", 0.9, {"Cannot": 0.1}),
    (" person", 1.0, {}),
    (" wears", 1.0, {}),
    (" a", 0.7, {" no": 0.3}),
    (" red", 0.6, {" blue": 0.3, " crimson": 0.1}),
    (" cap", 0.8, {" bean": 0.15, " thing": 0.05}),
    (".", 1.0, {}),
]


def test_alternatives_on_the_way_take_their_share() -> None:
    """By hand: 0.1 gives up; of the other 0.9, 0.3 deny; of the remaining 0.63, " thing" names nothing known
    and is left out, so "cap" has 0.8 / 0.95 of it."""
    found = read("hat", "The person wears a red cap.", CAP)
    kinds = {"cannot tell": 0.1, "none": 0.27, "cap": 0.63 * 0.8 / 0.95, "beanie": 0.63 * 0.15 / 0.95}
    assert found["hat/kind"] == pytest.approx(kinds, abs=1e-6)
    # The colour of what may not be there is that which it would have: denying takes no part in it.
    assert found["hat/colour"] == pytest.approx({"cannot tell": 0.1, "red": 0.63, "blue": 0.27}, abs=1e-6)


def test_a_denial_shares_with_everything_that_could_be_there() -> None:
    tokens: Parts = [
        ("The", 1.0, {}),
        (" person wears", 1.0, {}),
        (" no", 0.6, {" a": 0.4}),
        (" hat", 1.0, {" cap": 1e-9}),
    ]
    kinds = read("hat", "The person wears no hat", tokens)["hat/kind"]
    assert kinds["none"] == pytest.approx(0.6) and kinds["cap"] == pytest.approx(0.4 / 5)


def test_yes_and_no_alone() -> None:
    kinds = read("bag", "No.", [("No", 0.75, {"Yes": 0.25}), (".", 1.0, {})])["bag/kind"]
    assert kinds["none"] == pytest.approx(0.75) and sum(kinds.values()) == pytest.approx(1)


def test_pieces_of_words_lead_where_they_can() -> None:
    """Of the alternatives to " sn", " bo" can only become boots (bare feet are none) and " sand" sandals."""
    tokens: Parts = [
        ("White", 0.9, {"Black": 0.1}),
        (" sn", 0.8, {" bo": 0.1, " sand": 0.1}),
        ("eakers", 1.0, {}),
    ]
    found = read("shoes", "White sneakers", tokens)
    assert found["shoes/kind"] == pytest.approx({"sneakers": 0.8, "boots": 0.1, "sandals": 0.1}, abs=1e-6)
    assert found["shoes/colour"] == pytest.approx({"white": 0.9, "black": 0.1}, abs=1e-6)


def test_what_the_own_answer_leaves_open_is_taken_from_another() -> None:
    replies = {
        "upper": ChatReply("A striped shirt.", 0.9, None, 1, 1, 0.1),
        "cut": ChatReply("Cannot tell.", 0.9, None, 1, 1, 0.1),
    }
    tables = read_answers(replies, QUESTIONS, VOCABULARY)
    values = VOCABULARY.facets[PLACE["cut/pattern"]].values
    assert tables[PLACE["cut/pattern"]][values.index("striped")] == 1
    replies["cut"] = ChatReply("The shirt is plain.", 0.9, None, 1, 1, 0.1)
    tables = read_answers(replies, QUESTIONS, VOCABULARY)
    assert np.argmax(tables[PLACE["cut/pattern"]]) == values.index("plain")
