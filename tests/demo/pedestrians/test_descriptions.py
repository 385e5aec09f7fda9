"""Human-style descriptions say what is true, where their spans say, and corrupted ones what is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.pedestrians.asides import ASIDES, HEDGES
from demo.pedestrians.attributes import ATTRIBUTES, sample_person
from demo.pedestrians.corruption import COLOUR_OF
from demo.pedestrians.descriptions import GROUPS
from demo.pedestrians.language import (
    CANNOT_TELL,
    STYLES,
    Phrase,
    changed,
    corrupt,
    describe,
    plain_caption,
)
from demo.pedestrians.words import SYNONYMS, find_value

ABSENT = ("none", "nothing", "no")
visibles = st.fixed_dictionaries(
    {name: st.sampled_from([*values, CANNOT_TELL, None]) for name, values in ATTRIBUTES.items()}
)
seeds = st.integers(0, 2**32)


def _names(name: str, text: str) -> str | None:
    values = tuple(value for value in ATTRIBUTES[name] if value not in ABSENT)
    if name == "sleeves":
        values = ()
        for length in ("short", "long"):
            if f"{length} sleeves" in text or f"{length}-sleeved" in text:
                return length
        return None
    if name == "logo":
        return "yes" if any(word in text for word in ("logo", *SYNONYMS["logo"]["yes"])) else None
    return find_value(name, values, text)


@settings(deadline=None)  # machines under load are slow, not wrong
@given(visibles, seeds, st.integers(1, 16), st.floats(0, 1), st.sampled_from(STYLES))
def test_a_description_claims_only_what_is_visible_and_only_in_its_spans(
    visible: dict[str, str | None], seed: int, count: int, synonyms: float, style: str
) -> None:
    description = describe(visible, np.random.default_rng(seed), count, synonyms, style)
    text = description.text.lower()
    rest, reached = "", 0
    for phrase in description.phrases:
        assert reached <= phrase.start < phrase.end <= len(text)
        rest, reached = rest + text[reached : phrase.start] + "|", phrase.end
        words = text[phrase.start : phrase.end]
        for name, value in phrase.attribute_values.items():
            assert visible[name] == value
            if value in ABSENT:
                assert any(no in words for no in ("no ", "not ", "without ", "nothing", "empty-handed"))
            elif (name, value) == ("lower_type", "long skirt") and words.startswith("long "):
                assert words.endswith(" skirt")
            else:
                assert _names(name, words) == value
    rest += text[reached:]
    for name in set(ATTRIBUTES) - {"gender"}:
        assert _names(name, rest) is None, (name, rest)


@settings(deadline=None)
@given(visibles, seeds, st.integers(1, 16))
def test_as_many_groups_are_named_as_asked_or_known(
    visible: dict[str, str | None], seed: int, count: int
) -> None:
    description = describe(visible, np.random.default_rng(seed), count)
    known = {
        group for group, names in GROUPS.items() if any(visible[n] not in (None, CANNOT_TELL) for n in names)
    }
    named = {group for group, names in GROUPS.items() if any(name in description.claims for name in names)}
    assert named <= known
    assert len(named) == min(count, len(known))


@settings(deadline=None)
@given(visibles, seeds)
def test_descriptions_depend_on_the_generator_alone(visible: dict[str, str | None], seed: int) -> None:
    first, second = (describe(visible, np.random.default_rng(seed), 6) for _ in range(2))
    assert first == second


def test_without_synonyms_values_are_called_by_their_names() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        description = describe(sample_person(rng).attributes, rng, 6, synonyms=0)
        for phrase in description.phrases:
            words = description.text[phrase.start : phrase.end].lower()
            for name, value in phrase.attribute_values.items():
                plainly = {"long skirt": "skirt", "yes": "logo"}.get(value, value)
                assert value in ABSENT or plainly in words, (name, words)


def test_each_synonym_gets_its_turn() -> None:
    rng = np.random.default_rng(2)
    seen = " | ".join(
        describe(sample_person(rng).attributes, rng, 14, synonyms=1, negations=1).text.lower()
        for _ in range(800)
    )
    missing = {
        word
        for name, values in SYNONYMS.items()
        for value, words in values.items()
        for word in words
        if value in ATTRIBUTES[name] and word not in seen
    }
    assert not missing


def test_absent_things_are_named_only_as_often_as_asked() -> None:
    rng = np.random.default_rng(3)
    claims = [describe(sample_person(rng).attributes, rng, 8, negations=0).claims for _ in range(200)]
    assert not any(value in ABSENT for claim in claims for value in claim.values())
    claims = [describe(sample_person(rng).attributes, rng, 8, negations=1).claims for _ in range(200)]
    assert sum(value in ABSENT for claim in claims for value in claim.values()) > 200


@settings(deadline=None)
@given(seeds, st.sampled_from(list(ATTRIBUTES)))
def test_what_must_be_named_is_named(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    truth = corrupt(sample_person(rng), rng, 0)
    claims = describe(truth, rng, 1, vague=1, include=(name,)).claims
    assert truth[name] is None or claims[name] == truth[name]


def test_asides_say_nothing_about_anybody() -> None:
    for aside in (*ASIDES, *HEDGES):
        for name in ATTRIBUTES:
            assert _names(name, aside.lower()) is None, (name, aside)


@settings(deadline=None)
@given(visibles, seeds, st.integers(0, 5))
def test_exactly_n_details_are_corrupted(visible: dict[str, str | None], seed: int, count: int) -> None:
    wrong = corrupt(visible, np.random.default_rng(seed), count)
    consistent = corrupt(visible, np.random.default_rng(seed), 0)
    differing = changed(consistent, wrong)
    known = [name for name, value in consistent.items() if value in ATTRIBUTES[name]]
    assert len(differing) <= count
    if len(known) >= count + len(COLOUR_OF):
        assert len(differing) == count
    for name, value in wrong.items():
        assert value in (*ATTRIBUTES[name], CANNOT_TELL, None)
        follows = name in COLOUR_OF and changed(consistent, wrong).count(COLOUR_OF[name])
        if name not in differing and not follows:
            assert value == consistent[name]
    for colour, kind in COLOUR_OF.items():
        assert wrong[kind] != "none" or wrong[colour] is None


def test_a_corrupted_description_has_a_phrase_that_does_not_hold() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        truth = corrupt(sample_person(rng), rng, 0)
        wrong = corrupt(truth, rng, 1)
        description = describe(wrong, rng, 14, include=tuple(ATTRIBUTES))
        verdicts = [phrase.holds(truth) for phrase in description.phrases]
        assert verdicts.count(False) == 1, (description, changed(truth, wrong))
        assert all(phrase.holds(wrong) for phrase in description.phrases)


@pytest.mark.parametrize(
    ("claim", "visible", "verdict"),
    [
        ({"upper_type": "coat", "upper_colour": "red"}, {"upper_type": "coat", "upper_colour": "red"}, True),
        ({"upper_type": "coat", "upper_colour": "red"}, {"upper_type": None, "upper_colour": "red"}, None),
        ({"upper_type": "coat", "upper_colour": "red"}, {"upper_type": None, "upper_colour": "blue"}, False),
        ({"logo": "yes"}, {"logo": CANNOT_TELL}, None),
        ({"bag_colour": "red"}, {"bag_type": "none", "bag_colour": None}, False),
        ({"bag_type": "none"}, {"bag_type": "none", "bag_colour": None}, True),
    ],
)
def test_a_phrase_is_judged_by_what_is_seen(
    claim: dict[str, str], visible: dict[str, str | None], verdict: bool | None
) -> None:
    assert Phrase(claim, 0, 1).holds(visible) is verdict


def test_plain_captions_are_short_and_know_every_word() -> None:
    rng = np.random.default_rng(5)
    captions = []
    for _ in range(3500):
        captions.append(plain_caption(corrupt(sample_person(rng), rng, 0), rng).lower())
    lengths = Counter(len(caption.split()) for caption in captions)
    assert 6 <= np.median(list(lengths.elements())) <= 16
    together = " | ".join(captions)
    for name, values in ATTRIBUTES.items():
        for value in values:
            for word in (value, *SYNONYMS.get(name, {}).get(value, ())):
                if value not in (*ABSENT, "long skirt") and name not in ("sleeves", "logo"):
                    assert word in together, (name, word)
    navy = sum("navy" in caption for caption in captions)
    assert 0 < navy < sum("blue" in caption for caption in captions) / 4
