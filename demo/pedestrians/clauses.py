"""From attribute values to clauses: a verb's sense, a noun phrase in pieces, and what each piece claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from demo.pedestrians.words import article, say

#: A stretch of text and the attribute values it claims (None: it claims nothing by itself).
Piece = tuple[str, dict[str, str] | None]

#: Group -> its attributes, from what is mostly said first to what is said last. A group is one thing to say.
GROUPS: dict[str, tuple[str, ...]] = {
    "gender": ("gender",),
    "hair": ("hair_length", "hair_colour"),
    "upper": ("upper_type", "upper_colour"),
    "pattern": ("pattern",),
    "sleeves": ("sleeves",),
    "logo": ("logo",),
    "lower": ("lower_type", "lower_colour"),
    "shoes": ("shoe_type", "shoe_colour"),
    "bag": ("bag_type", "bag_colour"),
    "hat": ("hat_type", "hat_colour"),
    "glasses": ("glasses",),
    "scarf": ("scarf", "scarf_colour"),
    "held": ("held",),
    "action": ("action",),
}

#: Names for a thing whose colour alone is told. Each fits every kind of its attribute.
_SOMETHING = {
    "upper": ("top", "garment on top"),
    "lower": ("lower garment", "garment below the waist"),
    "shoes": ("shoes", "footwear"),
    "bag": ("bag",),
    "hat": ("hat",),
    "scarf": ("scarf",),
}
_SENSE = {"hair": "have", "bag": "carry", "held": "hold", "action": "do"}


@dataclass(frozen=True)
class Clause:
    """One thing to say.

    ``sense``: have, wear, carry, hold or do. ``article``: "a ", "an " or "". ``pieces``: the noun phrase
    (the participle, for do). ``absent``: "a hat", "glasses" ... if the clause says there is none; then the
    values are those of the only piece, whose text is "no hat".
    """

    group: str
    sense: str
    article: str
    pieces: tuple[Piece, ...]
    absent: str | None = None


def clauses_of(
    values: Mapping[str, Mapping[str, str]], rng: np.random.Generator, synonyms: float
) -> list[Clause]:
    """Clauses for the groups of ``values`` (group -> attribute -> value; gender apart), in their order.

    Pattern, sleeves and a logo go with the upper garment if that is named.
    """
    clauses = []
    for group in values:
        if group in ("pattern", "sleeves", "logo") and "upper" in values and _goes_along(group, values):
            continue
        if group in ("upper", "pattern"):
            clauses.append(_upper(values, rng, synonyms))
        else:
            clauses.append(_single(group, dict(values[group]), rng, synonyms))
    return clauses


def _goes_along(group: str, values: Mapping[str, Mapping[str, str]]) -> bool:
    return group != "logo" or values["logo"]["logo"] == "yes"


def _upper(values: Mapping[str, Mapping[str, str]], rng: np.random.Generator, synonyms: float) -> Clause:
    """The upper garment with its pattern, sleeves and logo as far as told (perhaps the pattern alone)."""
    named = "upper" in values
    before: list[Piece] = []
    behind: list[Piece] = []
    if named and "sleeves" in values:
        length = values["sleeves"]["sleeves"]
        if rng.random() < 0.5:
            before.append((f"{length}-sleeved", {"sleeves": length}))
        else:
            behind.append((f"{length} sleeves", {"sleeves": length}))
    if "pattern" in values:
        pattern = values["pattern"]["pattern"]
        before.append((say("pattern", pattern, rng, synonyms), {"pattern": pattern}))
    if named and "logo" in values and _goes_along("logo", values):
        behind.append(_logo_piece(rng, synonyms))
    if rng.random() < 0.5:
        before.reverse()
    core = (
        _coloured("upper", dict(values["upper"]), rng, synonyms) if named else (_SOMETHING["upper"][0], None)
    )
    pieces: list[Piece] = []
    for piece in before:
        pieces += [piece, (" ", None)]
    pieces.append(core)
    the = article("".join(text for text, _ in pieces))
    for index, piece in enumerate(behind):
        noun = piece[0].split(" on ")[0].split(" across ")[0]
        pieces += [((" with " if index == 0 else " and ") + article(noun), None), piece]
    return Clause("upper", "wear", the, tuple(pieces))


def _logo_piece(rng: np.random.Generator, synonyms: float) -> Piece:
    word = say("logo", "yes", rng, synonyms)
    place = _pick(("on the chest", "on the front", "across the chest"), rng)
    return f"{'logo' if word == 'yes' else word} {place}", {"logo": "yes"}


def _single(group: str, known: dict[str, str], rng: np.random.Generator, synonyms: float) -> Clause:
    sense = _SENSE.get(group, "wear")
    if group == "hair":
        words = [say(name, known[name], rng, synonyms) for name in GROUPS["hair"] if name in known]
        return Clause(group, sense, "", ((f"{' '.join(words)} hair", known),))
    if group == "sleeves":
        return Clause(group, "have", "", ((f"{known['sleeves']} sleeves", known),))
    if group == "logo":
        if known["logo"] == "yes":
            piece = _logo_piece(rng, synonyms)
            return Clause(group, "have", article(piece[0].split(" ")[0]), (piece,))
        return Clause(group, "have", "", (("no logo on the chest", known),), absent="a logo on the chest")
    if group == "action":
        return Clause(group, sense, "", ((say("action", known["action"], rng, synonyms), known),))
    kind = known.get(GROUPS[group][0])
    if kind == "nothing":
        return Clause(group, sense, "", (("nothing", known),), absent="anything")
    if kind == "none":
        claim = {GROUPS[group][0]: "none"}
        return Clause(group, sense, "", ((f"no {group}", claim),), absent=article(group) + group)
    piece = _coloured(group, known, rng, synonyms)
    the = "" if piece[0].endswith("footwear") else article(piece[0])
    return Clause(group, sense, the, (piece,))


def _coloured(group: str, known: dict[str, str], rng: np.random.Generator, synonyms: float) -> Piece:
    """ "red jacket", "long red skirt", "red top", "jacket": kind and colour as far as told."""
    names = GROUPS[group]
    kind = known.get(names[0])
    colour = say(names[1], known[names[1]], rng, synonyms) if len(names) > 1 and names[1] in known else ""
    noun = _pick(_SOMETHING[group], rng) if kind is None else say(names[0], kind, rng, synonyms)
    if noun == "long skirt":
        return (f"long {colour} skirt" if colour else noun), known
    return (f"{colour} {noun}" if colour else noun), known


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
