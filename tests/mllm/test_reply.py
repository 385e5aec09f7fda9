"""Expected values are computed here, from the definition of the probability of a sequence."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from ctgi.mllm.reply import Token, UnusableReply, choice_probabilities, match_choice, parse_reply
from tests.chat_server import completion


def tokens(*places: list[tuple[str, float]]) -> list[Token]:
    """Each place: the alternatives as (text, probability), the generated one first."""
    return [
        Token(place[0][0], math.log(place[0][1]), tuple((text, math.log(p)) for text, p in place))
        for place in places
    ]


def parsed(
    text: str, logprobs: list[tuple[str, float]] | None = None, choices: tuple[str, ...] | None = None
):
    return parse_reply(ChatCompletion.model_validate(completion(text, logprobs)), choices, 0.5)


def test_probability_is_of_the_answer_without_its_end() -> None:
    reply = parsed(" A red cap. ", [("A", 0.5), (" red", 0.4), (" cap.", 0.9), ("<|im_end|>", 0.1)])
    assert reply.text == "A red cap."
    assert reply.probability == pytest.approx(0.5 * 0.4 * 0.9)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.seconds) == (100, 10, 0.5)
    assert not reply.cached and reply.finished


def test_no_logprobs_no_probability() -> None:
    reply = parsed("yes", None, ("yes", "no"))
    assert (reply.text, reply.probability, reply.choice_probabilities) == ("yes", None, None)


def test_a_cut_reply_says_so() -> None:
    body = completion("A woman in")
    body["choices"][0]["finish_reason"] = "length"
    assert not parse_reply(ChatCompletion.model_validate(body), None, 0.0).finished


@pytest.mark.parametrize("body", ["<html>", None, SimpleNamespace(choices=[]), SimpleNamespace(choices=None)])
def test_what_is_no_completion_is_unusable(body: object) -> None:
    with pytest.raises(UnusableReply):
        parse_reply(body, None, 0.0)


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("yes", "yes"),
        ("Yes, the person matches.", "yes"),
        ("**No**", "no"),
        (" no.", "no"),
        ("NO\n", "no"),
        ("Nothing to see", None),
        ("Not sure", None),
        ("Yesterday", None),
        ("I think yes", None),
        ("", None),
    ],
)
def test_a_free_reply_is_matched_by_its_beginning(said: str, choice: str | None) -> None:
    assert match_choice(said, ("yes", "no")) == choice


def test_the_longer_choice_wins() -> None:
    assert match_choice("long skirt", ("long", "long skirt")) == "long skirt"


def test_yes_and_no_from_the_first_token_with_all_spellings() -> None:
    found = choice_probabilities(
        tokens([("Yes", 0.5), ("No", 0.2), (" yes", 0.1), ("Maybe", 0.1), ("no", 0.05)]), ("yes", "no")
    )
    assert found == pytest.approx({"yes": 0.6 / 0.85, "no": 0.25 / 0.85})


def test_marks_before_the_word_are_passed() -> None:
    found = choice_probabilities(
        tokens([("**", 0.9), ("Yes", 0.05)], [("no", 0.7), ("yes", 0.3)]), ("yes", "no")
    )
    # p(yes) = 0.05 at the first place + 0.9 * 0.3 at the second
    assert found == pytest.approx({"yes": 0.32 / 0.95, "no": 0.63 / 0.95})


def test_choices_of_several_tokens() -> None:
    choices = ("short sleeves", "short", "long")
    found = choice_probabilities(
        tokens([("short", 0.7), ("long", 0.3)], [(" sleeves", 0.6), (".", 0.4)]), choices
    )
    assert found == pytest.approx({"short sleeves": 0.42, "short": 0.28, "long": 0.3})


def test_a_choice_that_begins_another_and_ends_there() -> None:
    found = choice_probabilities(tokens([("no", 0.8), ("yes", 0.2)]), ("no", "not sure", "yes"))
    assert found is not None and max(found, key=found.__getitem__) == "no"


def test_none_of_the_choices() -> None:
    assert choice_probabilities(tokens([("blue", 1.0)]), ("yes", "no")) is None


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_renormalised(weights: list[float]) -> None:
    total = sum(weights) * 1.25  # the rest of the mass is on other words
    names = [f"c{i}" for i in range(len(weights))]
    found = choice_probabilities(
        tokens([(name, w / total) for name, w in zip(names, weights, strict=True)]), names
    )
    assert found == pytest.approx({name: w / sum(weights) for name, w in zip(names, weights, strict=True)})
