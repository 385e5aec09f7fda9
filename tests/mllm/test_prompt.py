from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.mllm.prompt import Prompt

# A prompt's text may only change together with its version: these digests are of the released texts.
RELEASED = {
    "system@1": "You look at a picture of one person. Say only what can be seen. "
    "If something cannot be seen, say: Cannot tell.",
    "describe@1": "Describe the person in the picture.",
    "answer@1": "{question} Answer in one short sentence.",
    "judge@1": "Does the person in the picture match this description? {description} Answer yes or no.",
}
DIGESTS = {
    "reconstruct@1": "c50869d36ef9d9df",
    "rewrite@1": "deb7594e0c4bbf5a",
    "read@1": "a87ce3eb26cfab1b",
}


@pytest.mark.parametrize("name", Prompt.names())
def test_every_placeholder_is_filled(name: str) -> None:
    prompt = Prompt.load(name)
    filled = prompt.fill(**{placeholder: "VALUE" for placeholder in prompt.placeholders})
    assert filled.count("VALUE") >= len(prompt.placeholders)
    assert not any(f"{{{placeholder}}}" in filled for placeholder in prompt.placeholders)
    assert prompt.purpose


def test_released_texts_stay() -> None:
    texts = {Prompt.load(name).version: Prompt.load(name).text for name in Prompt.names()}
    assert {version: texts.pop(version) for version in RELEASED} == RELEASED
    assert {
        version: hashlib.sha256(text.encode()).hexdigest()[:16] for version, text in texts.items()
    } == DIGESTS


def test_a_value_missing_or_without_a_place_is_refused() -> None:
    with pytest.raises(CtgiError, match="question"):
        Prompt.load("answer").fill()
    with pytest.raises(CtgiError, match="colour"):
        Prompt.load("answer").fill(question="?", colour="red")
    with pytest.raises(CtgiError, match="none of that name"):
        Prompt.load("../system")


@given(st.text())
def test_values_are_data(text: str) -> None:
    assert Prompt.load("answer").fill(question=text) == text + " Answer in one short sentence."


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    prompt = Prompt("two", 1, "", "{a} {b}")
    assert prompt.fill(a="{b}", b="{a}") == "{b} {a}"
