"""Descriptions of a rendered person as people write them, with the span of every claim.

A description names some *groups* of attributes (a garment with its colour, the hair, the hat ...). Each
claim is a ``Phrase``: the characters that make it and the values it claims. So a claim can be checked
against a picture by itself: it is true of the picture if all its values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demo.pedestrians.clauses import GROUPS, clauses_of
from demo.pedestrians.corruption import COLOUR_OF
from demo.pedestrians.styles import STYLES, write
from demo.pedestrians.words import say

__all__ = ["GROUPS", "STYLES", "Description", "Phrase", "describe", "plain_caption"]

#: How readily a witness speaks of a group, against 1 for the others.
_SALIENCE = {"gender": 3.0, "upper": 2.0, "lower": 1.6, "hair": 1.3, "bag": 1.3}
_ABSENT = ("none", "nothing", "no")


@dataclass(frozen=True)
class Phrase:
    """One claim of a description: ``text[start:end]`` says that ``attribute_values`` hold."""

    attribute_values: dict[str, str]
    start: int
    end: int

    def holds(self, visible: Mapping[str, str | None]) -> bool | None:
        """Whether the claim is true of what is visible: False if anything contradicts it, None if unseen."""
        verdict: bool | None = True
        for name, value in self.attribute_values.items():
            seen = "none" if visible.get(COLOUR_OF.get(name, "")) == "none" else visible.get(name)
            if seen in (None, "cannot tell"):
                verdict = None
            elif seen != value:
                return False
        return verdict


@dataclass(frozen=True)
class Description:
    """A text and its claims, in the order of the text; spans neither overlap nor are empty."""

    text: str
    phrases: tuple[Phrase, ...]

    @property
    def claims(self) -> dict[str, str]:
        """Every attribute value the text claims."""
        return {name: value for phrase in self.phrases for name, value in phrase.attribute_values.items()}


def describe(
    visible: Mapping[str, str | None],
    rng: np.random.Generator,
    n_attributes: int = 4,
    synonyms: float = 0.3,
    style: str | None = None,
    *,
    negations: float = 0.3,
    vague: float = 0.1,
    include: Sequence[str] = (),
) -> Description:
    """Describe what is ``visible`` by ``n_attributes`` attribute groups (fewer if fewer are known).

    ``synonyms``: probability that a word gives way to a synonym. ``style``: one of ``STYLES``, drawn if None.
    ``negations``: how readily absent things are named ("no hat"), against 1 for present ones.
    ``vague``: probability that a claim of two values makes do with one ("a jacket", "a red top").
    ``include``: attributes that are named whatever else is (if known), counted in ``n_attributes``.
    Values that are None or "cannot tell" are never named.
    """
    groups = _choose_groups(visible, rng, n_attributes, negations, include)
    style = style or STYLES[int(rng.integers(len(STYLES) - 1))]
    return _compose(visible, groups, rng, synonyms, style, vague, include)


def plain_caption(visible: Mapping[str, str | None], rng: np.random.Generator) -> str:
    """A short, generic caption, as pre-training pairs have: who, one or two garments, seldom one thing more.

    Each word is a synonym 30 % of the time; every other group is named with a probability of a twelfth.
    """
    garments = [name for name in ("upper", "lower") if any(_is_known(visible, a) for a in GROUPS[name])]
    if len(garments) == 2 and rng.random() < 0.45:
        garments = [garments[int(rng.integers(2))]]
    more = [
        name
        for name in GROUPS
        if name not in ("gender", "upper", "lower")
        and any(_is_known(visible, a) for a in GROUPS[name])
        and rng.random() < 1 / 12
    ]
    groups = (["gender"] if _is_known(visible, "gender") else []) + garments + more
    return _compose(visible, groups, rng, 0.3, "caption", 0.05, ()).text


def _is_known(visible: Mapping[str, str | None], name: str) -> bool:
    return visible.get(name) not in (None, "cannot tell")


def _choose_groups(
    visible: Mapping[str, str | None],
    rng: np.random.Generator,
    count: int,
    negations: float,
    include: Sequence[str],
) -> list[str]:
    wanted, others, weights = [], [], []
    for group, names in GROUPS.items():
        known = [name for name in names if _is_known(visible, name)]
        if not known:
            continue
        if any(name in include for name in known):
            wanted.append(group)
            continue
        absent = visible[known[0]] in _ABSENT
        if absent and negations <= 0:
            continue
        others.append(group)
        weights.append(negations if absent else _SALIENCE.get(group, 1.0))
    rest = min(max(count - len(wanted), 0), len(others))
    if rest:
        # Weighted draw without replacement (Efraimidis and Spirakis: keys u^(1/w), the largest win).
        keys = rng.random(len(others)) ** (1 / np.array(weights))
        wanted += [others[int(i)] for i in np.argsort(-keys)[:rest]]
    return wanted


def _compose(
    visible: Mapping[str, str | None],
    groups: Sequence[str],
    rng: np.random.Generator,
    synonyms: float,
    style: str,
    vague: float,
    include: Sequence[str],
) -> Description:
    values = {}
    for group in groups:
        known = {name: str(visible[name]) for name in GROUPS[group] if _is_known(visible, name)}
        if len(known) == 2 and "none" not in known.values() and rng.random() < vague:
            droppable = [name for name in known if name not in include]
            if droppable:
                del known[droppable[int(rng.integers(len(droppable)))]]
        values[group] = known
    who = None
    if "gender" in values:
        gender = values.pop("gender")["gender"]
        who = (gender, say("gender", gender, rng, synonyms))
    text = write(style, who, clauses_of(values, rng, synonyms), rng)
    return Description(text.text, tuple(Phrase(dict(v), start, end) for v, start, end in text.spans))
