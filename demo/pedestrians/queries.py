"""Search queries as eye-witnesses write them: about a person, not about one picture of that person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.corruption import changed, corrupt
from demo.pedestrians.descriptions import GROUPS, Description, describe

#: Kind -> how often it is written. The names are part of the data format.
KINDS: dict[str, float] = {
    "short": 0.30,  # vague, one to three things
    "middling": 0.30,  # four to six
    "detailed": 0.16,  # eight or more; some beyond 77 tokens of CLIP, a few beyond 248
    "wrong-detail": 0.14,  # one thing is not so
    "negation": 0.10,  # names something that is not there
}

#: How often a word gives way to a synonym, which captions do not use.
SYNONYMS = 0.5
_ABSENT = ("none", "nothing", "no")


@dataclass(frozen=True)
class Query:
    """A query for one identity. ``wrong``: the attribute that is told wrongly, or None.

    ``claims``: attribute -> value as the text tells it, for measuring only.
    """

    text: str
    identity: int
    kind: str
    wrong: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)


def seen_by_cameras(pictures: Iterable[Mapping[str, str | None]]) -> dict[str, str | None]:
    """What can be known of a person from all their pictures: each attribute that any picture shows."""
    known: dict[str, str | None] = {}
    for visible in pictures:
        for name, value in visible.items():
            if value not in (None, "cannot tell"):
                known[name] = value
    return {name: known.get(name) for name in ATTRIBUTES}


def write_queries(
    truths: Mapping[int, Mapping[str, str | None]], seed: int, per_identity: int = 8
) -> list[Query]:
    """``per_identity`` queries for each identity of ``truths`` (identity -> what is true and to be seen).

    Every identity has its own stream of random numbers: its queries do not depend on who else is there.
    Texts of one identity differ from each other.
    """
    queries = []
    for identity, truth in truths.items():
        rng = np.random.default_rng([seed, 0x9E, identity])
        texts: set[str] = set()
        for kind in kinds_of(identity, per_identity, rng):
            while (query := write_query(identity, truth, rng, kind)).text in texts:
                pass
            texts.add(query.text)
            queries.append(query)
    return queries


def kinds_of(identity: int, count: int, rng: np.random.Generator) -> list[str]:
    """The kinds of an identity's ``count`` queries, in random order: a systematic sample of ``KINDS``.

    Of each kind come as many as its share says, up to rounding, and the remainders go round: the golden
    ratio's multiples fill the interval evenly, so that a handful of identities already has every kind.
    """
    start = identity * 0.6180339887498949 % 1.0
    edges = np.cumsum(list(KINDS.values()))
    drawn = np.searchsorted(edges / edges[-1], (np.arange(count) + start) / count, side="right")
    return [list(KINDS)[int(n)] for n in rng.permutation(drawn)]


def write_query(
    identity: int, truth: Mapping[str, str | None], rng: np.random.Generator, kind: str | None = None
) -> Query:
    """One query of ``kind`` (drawn if None). Where nothing is absent, a negation becomes a middling one."""
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    absent = [name for name, value in truth.items() if value in _ABSENT]
    if kind == "negation" and not absent:
        kind = "middling"
    wrong = None
    if kind == "short":
        text = describe(
            truth, rng, int(rng.choice(3, p=(0.2, 0.4, 0.4))) + 1, SYNONYMS, negations=0, vague=0.25
        )
    elif kind == "middling":
        text = describe(truth, rng, int(rng.integers(4, 7)), SYNONYMS, negations=0.1)
    elif kind == "detailed":
        text = _detailed(truth, rng)
    elif kind == "wrong-detail":
        mistaken = corrupt(truth, rng, 1, among=[name for name in ATTRIBUTES if name != "gender"])
        (wrong,) = changed(truth, mistaken)
        text = describe(mistaken, rng, int(rng.integers(4, 8)), SYNONYMS, negations=0.1, include=(wrong,))
    elif kind == "negation":
        denied = absent[int(rng.integers(len(absent)))]
        text = describe(truth, rng, int(rng.integers(3, 6)), SYNONYMS, negations=0.5, include=(denied,))
    else:
        raise ValueError(f"no such kind of query: {kind!r}; known: {', '.join(KINDS)}")
    return Query(text.text, identity, kind, wrong, text.claims)


def _detailed(truth: Mapping[str, str | None], rng: np.random.Generator) -> Description:
    draw = rng.random()
    if draw < 0.45:
        return describe(truth, rng, int(rng.integers(8, 12)), SYNONYMS)
    if draw < 0.80:  # eighty to a hundred words
        return describe(truth, rng, len(GROUPS), SYNONYMS, "witness", negations=1)
    return describe(truth, rng, int(rng.integers(8, len(GROUPS) + 1)), SYNONYMS, "rambling", negations=1)
