"""What witnesses say of themselves is nobody's description."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.interaction.reading import read_query
from ctgi.interaction.vocabulary import default_facets
from ctgi.interaction.witness import without_witness

FACETS = default_facets()
RUNNING = {"gender/kind": "man", "action/kind": "running"}


def told(text: str) -> dict[str, str]:
    """Facet -> the values that fit, as people would list them."""
    return {
        FACETS[said.facet].key: "/".join(
            value
            for value, weight in zip(FACETS[said.facet].values, said.weights, strict=True)
            if weight == 1
        )
        for said in read_query(text, FACETS).says
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We were waiting for the tram.", {}),
        ("I was holding my red umbrella, and it rained.", {}),
        ("I'm standing at the bus stop", {}),
        ("I was only just sitting down", {}),
        ("My blue hat, my bag", {}),
        ("I walked past a man", {"gender/kind": "man"}),
        ("I held the door for a man in boots", {"gender/kind": "man", "shoes/kind": "boots"}),
        ("I was standing next to a woman", {"gender/kind": "woman"}),
        ("I was wearing a red coat when a man ran by", RUNNING),
        ("I was reading; he was walking", {"gender/kind": "man", "action/kind": "walking"}),
        # What a witness says of others stays.
        ("I think he was walking", {"gender/kind": "man", "action/kind": "walking"}),
        ("I am looking for someone who is holding an umbrella", {"held/kind": "umbrella"}),
        ("I was told she wore boots", {"gender/kind": "woman", "shoes/kind": "boots"}),
        ("He ran past me with his umbrella", {**RUNNING, "held/kind": "umbrella"}),
    ],
)
def test_only_the_others_are_read(text: str, expected: dict[str, str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    "hedge", [", if I remember rightly", ", I think", ", if I am not mistaken", ", as far as I could see"]
)
def test_a_hedge_doubts_and_does_not_describe(hedge: str) -> None:
    plain, hedged = (read_query(f"a red jacket{more}.", FACETS) for more in ("", hedge))
    assert [one.facet for one in hedged.says] == [one.facet for one in plain.says]
    assert all(one.doubt >= 0.1 for one in hedged.says) and not any(one.doubt for one in plain.says)


def test_a_hedge_within_a_phrase_doubts_what_follows() -> None:
    [held] = [s for s in read_query("he was carrying, I believe, a phone", FACETS).says if s.words == "phone"]
    assert held.doubt == pytest.approx(0.2)


@given(st.text(alphabet="Iwme ryas,.holding'\n", max_size=60))
def test_every_character_stays_in_its_place(text: str) -> None:
    left = without_witness(text)
    assert len(left) == len(text)
    assert all(b in (a, " ") for a, b in zip(text, left, strict=True))
