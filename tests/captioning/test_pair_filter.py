from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import default_pool
from ctgi.captioning.statements import statement

POOL = default_pool()
STATIC = "A woman in a red jacket and blue trousers."


def reason(topic: str, answer: str, probability: float | None = 0.9, known: str = STATIC) -> str | None:
    return PairFilter(POOL).reason(POOL.question(topic), answer, probability, known)


@pytest.mark.parametrize(
    ("topic", "answer"),
    [
        ("hair", "The person has long black hair."),
        ("cut", "The jacket is striped and has long sleeves."),
        ("cut", "The jacket is plain and has short sleeves."),
        ("logo", "There is a logo on the chest."),
        ("shoes", "The person wears white sneakers."),
        ("bag", "The person carries a red backpack."),
        ("hat", "The person wears a blue cap."),
        ("hat", "Yes, the person is wearing a hat."),
        ("bag", "Yes."),
        ("glasses", "The person wears sunglasses."),
        ("scarf", "A pink scarf"),
        ("held", "The person holds a phone."),
        ("held", "A kite."),
        ("action", "Walking."),
        ("bag", "No hat, but a bag."),
    ],
)
def test_kept(topic: str, answer: str) -> None:
    assert reason(topic, answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        "Cannot tell.",
        "It is not visible.",
        "The hat can’t be seen.",
        "Possibly a cap.",
        "I'm not sure.",
        "",
        "  ",
    ],
)
def test_uncertain_by_its_words(answer: str) -> None:
    assert reason("hat", answer) == "uncertain"


def test_uncertain_by_the_models_own_probability() -> None:
    assert reason("hat", "The person wears a blue cap.", 0.09) == "uncertain"
    assert reason("hat", "The person wears a blue cap.", 0.11) is None
    assert reason("hat", "The person wears a blue cap.", None) is None
    strict = PairFilter(POOL, min_probability=0.5)
    assert strict.reason(POOL.question("hat"), "A blue cap.", 0.4, STATIC) == "uncertain"
    assert strict.name != PairFilter(POOL).name


@pytest.mark.parametrize(
    ("topic", "answer"),
    [
        ("shoes", "The person wears a red jacket."),
        ("hat", "The weather is fine."),
        ("hat", "The person wears no hat."),
        ("hat", "The person is not wearing a hat."),
        ("logo", "There is no logo on the chest."),
        ("held", "The person holds nothing."),
        ("held", "Nothing."),
        ("bag", "No."),
        ("glasses", "No, the person isn't wearing glasses."),
    ],
)
def test_irrelevant_is_off_the_topic_or_only_what_is_not_there(topic: str, answer: str) -> None:
    assert reason(topic, answer) == "irrelevant"


@pytest.mark.parametrize(
    ("topic", "answer", "known"),
    [
        ("lower", "The person wears blue trousers.", STATIC),
        ("lower", "The person is wearing navy pants.", STATIC),
        ("upper", "A crimson jacket.", STATIC),
        ("gender", "The person is female.", STATIC),
        ("bag", "The person carries a bag.", "with a green rucksack"),
        ("shoes", "She wears shoes.", "in white trainers"),
        ("held", "The person holds a phone.", "holding a mobile phone"),
        ("cut", "The shirt is plain and has short sleeves.", "a plain short-sleeved shirt"),
    ],
)
def test_redundant_in_other_words(topic: str, answer: str, known: str) -> None:
    assert reason(topic, answer, known=known) == "redundant"


@pytest.mark.parametrize(
    ("topic", "answer", "known"),
    [
        ("bag", "The person carries a red bag.", "in a red jacket with a bag"),
        ("shoes", "The person wears white sneakers.", "in a white shirt and sneakers"),
        ("bag", "The person carries a backpack.", "with a bag"),
    ],
)
def test_a_detail_of_another_thing_makes_nothing_redundant(topic: str, answer: str, known: str) -> None:
    assert reason(topic, answer, known=known) is None


@pytest.mark.parametrize(
    ("topic", "answer", "said"),
    [
        ("bag", "yes", "The person carries a bag."),
        ("bag", "No.", ""),
        ("shoes", "black boots", "The person wears black boots."),
        ("shoes", "Black boots.", "The person wears black boots."),
        ("hat", "Yes, a blue cap.", "The person wears a blue cap."),
        ("hair", "Short, curly and brown", "The person's hair is short, curly and brown."),
        ("hair", "Long brown hair", "The person has long brown hair."),
        ("action", "walking", "The person is walking."),
        ("bag", "Carrying a red bag", "The person is carrying a red bag."),
        ("bag", "**The person carries a bag**", "The person carries a bag."),
        ("gender", "A woman.", "The person is a woman."),
        ("gender", "Woman", "The person is a woman."),
        ("gender", "Male.", "The person is male."),
        ("upper", "a {answer} shirt", "The person wears a {answer} shirt."),
        ("upper", "She's in\na red coat!", "She's in a red coat!"),
    ],
)
def test_replies_become_statements(topic: str, answer: str, said: str) -> None:
    assert statement(POOL.question(topic), answer) == said


@given(st.sampled_from([question.topic for question in POOL]), st.text(max_size=80), st.text(max_size=80))
def test_any_answer_can_be_judged(topic: str, answer: str, known: str) -> None:
    said = statement(POOL.question(topic), answer)
    assert said == "" or said[-1] in ".!?"
    assert reason(topic, answer, known=known) in (None, "uncertain", "irrelevant", "redundant")
