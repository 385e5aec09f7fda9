from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.captioning.pool import Coverage, QuestionPool, default_pool
from ctgi.errors import CtgiError

POOL = default_pool()
STATIC = "A woman in a red jacket and blue trousers."


def level(text: str, topic: str) -> Coverage:
    return POOL.coverage(text)[topic]


def test_the_questions_are_the_agreed_ones() -> None:
    assert {question.topic: question.question for question in POOL} == {
        "gender": "Is the person a man or a woman?",
        "hair": "What does the person's hair look like?",
        "upper": "What is the person wearing on the upper body?",
        "cut": "What pattern does the upper garment have, and how long are its sleeves?",
        "logo": "Is there a logo on the chest?",
        "lower": "What is the person wearing on the lower body?",
        "shoes": "What shoes is the person wearing?",
        "bag": "Is the person carrying a bag?",
        "hat": "Is the person wearing a hat?",
        "glasses": "Is the person wearing glasses?",
        "scarf": "Is the person wearing a scarf?",
        "held": "What is the person holding?",
        "action": "What is the person doing?",
    }


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("a bloke", "gender"),
        ("she waits", "gender"),
        ("in a crimson hoodie", "upper"),
        ("two navy tops", "upper"),
        ("her jacket is dark red", "upper"),
        ("a coat in grey", "upper"),
        ("a red and white shirt", "upper"),
        ("a black, puffy anorak", "upper"),
        ("a pink dress", "upper"),
        ("a pink dress", "lower"),
        ("green chinos", "lower"),
        ("white trainers", "shoes"),
        ("grey running shoes", "shoes"),
        ("barefoot", "shoes"),
        ("an olive rucksack", "bag"),
        ("two brown satchels", "bag"),
        ("a beige tote", "bag"),
        ("a purple purse", "bag"),
        ("without a bag", "bag"),
        ("carrying no backpack", "bag"),
        ("a maroon bobble hat", "hat"),
        ("no hat", "hat"),
        ("not wearing a cap", "hat"),
        ("isn’t wearing any hat", "hat"),
        ("hatless", "hat"),
        ("spectacles", "glasses"),
        ("a man in shades", "glasses"),
        ("neither hat nor glasses", "glasses"),
        ("without glasses, bag or scarf", "bag"),
        ("without glasses, bag or scarf", "scarf"),
        ("not wearing a hat or glasses", "glasses"),
        ("no scarf", "scarf"),
        ("an emblem on the front", "logo"),
        ("a plaid shirt with short sleeves", "cut"),
        ("a plain, long-sleeved shirt", "cut"),
        ("a brolly", "held"),
        ("holding a kite", "held"),
        ("holds nothing", "held"),
        ("empty-handed", "held"),
        ("jogging", "action"),
        ("long blond hair", "hair"),
        ("her hair is short and black", "hair"),
        ("long-haired brunette", "hair"),
        ("bald", "hair"),
    ],
)
def test_spoken_about(text: str, topic: str) -> None:
    assert level(text, topic) is Coverage.FULL


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("a jacket", "upper"),
        ("a rucksack", "bag"),
        ("trainers", "shoes"),
        ("long hair", "hair"),
        ("a striped shirt", "cut"),
        ("a red jacket and a bag", "bag"),
        ("a woman in black with a hat", "hat"),
        ("without glasses and carrying a bag", "bag"),
        ("hair in a black cap", "hair"),
        ("no hat, glasses and a bag", "bag"),
    ],
)
def test_half_spoken_about(text: str, topic: str) -> None:
    assert level(text, topic) is Coverage.PART


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("running shoes", "action"),
        ("walking boots", "action"),
        ("a glass of water", "glasses"),
        ("a capable person", "hat"),
        ("a chat", "hat"),
        ("scarfed", "scarf"),
        ("bagpipes", "bag"),
        ("a shoulder bag", "upper"),
        ("a human", "gender"),
        ("striped trousers", "cut"),
        ("on top of the stairs", "upper"),
        ("holding something", "held"),
        ("carrying a bag", "held"),
        ("", "gender"),
    ],
)
def test_not_spoken_about(text: str, topic: str) -> None:
    assert level(text, topic) is Coverage.NONE


def test_missing_puts_the_unmentioned_before_the_half_mentioned() -> None:
    missing = [question.topic for question in POOL.missing("a woman with a rucksack and a red coat")]
    assert missing[-1] == "bag" and missing[:2] == ["hair", "lower"]
    assert not {"gender", "upper"} & set(missing)


def test_next_asks_what_is_unknown_and_nothing_twice() -> None:
    asked: list[str] = []
    known = STATIC
    while (question := POOL.next(known, asked, seed=5)) is not None:
        assert level(known, question.topic) < Coverage.FULL
        asked.append(question.topic)
        known += " Cannot tell."
    assert asked[0] == "hair" and len(asked) == len(set(asked)) == 10


def test_a_corpus_covers_every_topic_equally() -> None:
    counts: Counter[str] = Counter()
    for seed in range(90):
        asked: list[str] = []
        for _ in range(6):
            question = POOL.next(STATIC, asked, seed)
            assert question is not None
            asked.append(question.topic)
        counts.update(asked)
    assert counts.pop("hair") == 90
    assert set(counts.values()) == {50}  # 90 pictures x 5 questions over 9 topics


@given(st.text(max_size=200), st.integers(0, 2**48))
def test_any_text_can_be_read(text: str, seed: int) -> None:
    assert len(POOL.coverage(text)) == len(POOL)
    assert POOL.next(text, [], seed) == POOL.next(text, [], seed)


@given(
    st.sampled_from(
        [w for w in "crimson navy hat cap boots glasses no without red bag, . and with a".split()]
    )
)
def test_more_text_never_uncovers_a_settled_topic(word: str) -> None:
    before = POOL.coverage(STATIC)
    after = POOL.coverage(f"{STATIC} {word}")
    assert all(after[topic] >= before[topic] for topic in before)


@pytest.mark.parametrize(
    "text",
    [
        "topics: [",
        "version: 1\ntopics: []",
        "version: 1\ntopics: [{topic: a, question: '?', priority: 1}]",
        "version: 1\ntopics: [{topic: a, question: '?', priority: 1, fragment: 'x'}]",
        "version: 1\ntopics: [{topic: a, question: '?', priority: 1, fragment: '{answer}', cue: [b]}]",
        "just text",
    ],
)
def test_a_pool_of_ones_own_is_checked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CtgiError, match="mine.yaml"):
        QuestionPool.load(path)


def test_a_pool_of_ones_own_works(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "version: 1\n"
        "topics: [{topic: belt, question: 'A belt?', priority: 1, fragment: '{answer}', cues: [belt]}]"
    )
    pool = QuestionPool.load(path)
    assert [question.topic for question in pool.missing("a man")] == ["belt"]
    assert pool.missing("two belts") == []
    assert pool.version != POOL.version
    with pytest.raises(CtgiError, match="belt"):
        pool.question("hat")
