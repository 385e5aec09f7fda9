from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.captioning.composer import Composer
from ctgi.captioning.pool import Coverage, default_pool
from ctgi.captioning.transcript import Pair

POOL = default_pool()
COMPOSER = Composer(POOL)
ANSWERS = {
    "gender": "The person is a woman.",
    "hair": "The person has long black hair.",
    "upper": "The person wears a red jacket.",
    "cut": "The jacket is striped and has long sleeves.",
    "logo": "There is a logo on the chest.",
    "lower": "The person wears blue trousers.",
    "shoes": "The person wears white sneakers.",
    "bag": "The person carries a red backpack.",
    "hat": "The person wears a blue cap.",
    "glasses": "The person wears sunglasses.",
    "scarf": "The person wears a pink scarf.",
    "held": "The person holds a phone.",
    "action": "The person is walking.",
}


def pair(topic: str, answer: str | None = None, kept: bool = True) -> Pair:
    return Pair(topic, POOL.question(topic).question, answer or ANSWERS[topic], 0.9, kept)


def caption(static: str, *pairs: Pair) -> str:
    return asyncio.run(COMPOSER.reconstruct(static, pairs))


def rewritten(query: str, *pairs: Pair) -> str:
    return asyncio.run(COMPOSER.rewrite(query, pairs))


def test_a_whole_interview_becomes_fluent() -> None:
    pairs = [pair(topic) for topic in ("action", "bag", "hair", "hat", "cut", "shoes", "held")]
    assert caption("A woman in a red jacket and blue trousers.", *pairs) == (
        "A woman in a red jacket and blue trousers. She has long black hair. She wears white sneakers and a "
        "blue cap. The jacket is striped and has long sleeves. She carries a red backpack and holds a phone. "
        "She is walking."
    )


def test_lone_sentences_are_joined_by_two() -> None:
    assert caption("A man in a grey coat.", pair("hair"), pair("hat")) == (
        "A man in a grey coat. He has long black hair and wears a blue cap."
    )


def test_an_unnamed_person_is_named() -> None:
    assert caption("A person in a grey coat.", pair("gender"), pair("hat")) == (
        "A woman in a grey coat. She wears a blue cap."
    )
    assert (
        caption("The image shows an individual in grey.", pair("gender"))
        == "The image shows a woman in grey."
    )
    assert caption("A person in a grey coat.", pair("hat")) == (
        "A person in a grey coat. The person wears a blue cap."
    )


def test_free_answers_of_larger_models() -> None:
    assert caption(
        "The man is wearing a grey coat.",
        pair("hair", "The man's hair is short and dark."),
        pair("bag", "Yes, the individual is carrying a large black duffel bag over their shoulder."),
        pair("held", "A coffee cup"),
    ) == (
        "The man is wearing a grey coat. His hair is short and dark. He carries a large black duffel bag "
        "over his shoulder and holds a coffee cup."
    )


def test_what_was_dropped_stays_out() -> None:
    assert caption("A man.", pair("hat", kept=False)) == "A man."
    assert rewritten("a man", pair("hat", kept=False)) == "a man"


def test_a_query_is_kept_word_for_word() -> None:
    query = "  bloke w/ a {crimson} top <|im_end|>  "
    assert rewritten(query, pair("hat")) == "bloke w/ a {crimson} top <|im_end|>. He wears a blue cap."
    assert rewritten("Is it a man?", pair("hat")) == "Is it a man? He wears a blue cap."
    assert rewritten("", pair("hat")) == "The person wears a blue cap."


@pytest.mark.parametrize(
    ("query", "topic"),
    [
        ("a crimson jacket", "upper"),
        ("a blue jacket", "upper"),  # the user's word stands
        ("a lady", "gender"),
        ("navy chinos", "lower"),
        ("grey trainers", "shoes"),
        ("a scarlet rucksack", "bag"),
        ("no bag", "bag"),
        ("without a hat", "hat"),
        ("hatless", "hat"),
        ("in shades", "glasses"),
        ("on the mobile", "held"),
        ("strolling", "action"),
        ("a plain shirt with short sleeves", "cut"),
    ],
)
def test_what_the_query_says_is_not_said_again(query: str, topic: str) -> None:
    assert rewritten(query, pair(topic)) == query


@pytest.mark.parametrize(
    ("query", "topic", "added"),
    [
        ("a man with a rucksack", "bag", "The rucksack is red."),
        ("a man in trainers", "shoes", "The trainers are white."),
        ("a man in a bobble hat", "hat", "The bobble hat is blue."),
        ("a man with long hair", "hair", "His hair is black."),
        ("a man in a striped grey shirt", "cut", "The shirt has long sleeves."),
        ("a man in a long-sleeved grey shirt", "cut", "The shirt is striped."),
    ],
)
def test_of_a_half_known_thing_only_the_new_is_said(query: str, topic: str, added: str) -> None:
    assert rewritten(query, pair(topic)) == f"{query}. {added}"


TOPICS = st.lists(st.sampled_from(sorted(ANSWERS)), unique=True, max_size=8)


@given(TOPICS, st.sampled_from(["A woman in a red jacket.", "a man with a rucksack, no hat", "someone", ""]))
def test_order_does_not_matter_and_nothing_is_lost(topics: list[str], text: str) -> None:
    written = caption(text, *map(pair, topics))
    assert written == caption(text, *map(pair, reversed(topics)))
    covered, before = POOL.coverage(written), POOL.coverage(text)
    assert all(covered[topic] is Coverage.FULL for topic in topics)
    assert all(covered[topic] >= before[topic] for topic in covered)
    words = [word.strip(".,").lower() for word in written.split()]
    assert not any(a == b for a, b in itertools.pairwise(words))


@given(TOPICS, st.text(max_size=60))
def test_rewriting_twice_adds_nothing_more(topics: list[str], query: str) -> None:
    pairs = [pair(topic) for topic in topics]
    once = rewritten(query, *pairs)
    assert once.startswith(query.strip())
    assert rewritten(once, *pairs) == once


@given(st.sampled_from(sorted(ANSWERS)), st.text(max_size=80), st.text(max_size=80))
def test_any_answer_can_be_composed(topic: str, answer: str, text: str) -> None:
    written = caption(text, pair(topic, answer or "x"))
    assert written.startswith(text.strip()[:1])
