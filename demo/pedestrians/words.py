"""The words people have for attribute values: synonyms that mean exactly one value, articles, plurals."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

_COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("jet-black", "ebony"),
    "white": ("snow-white", "pure white"),
    "grey": ("gray", "slate"),
    "red": ("crimson", "scarlet"),
    "yellow": ("lemon", "canary-yellow"),
    "green": ("emerald", "jade"),
    "blue": ("navy", "azure", "cobalt"),
    "purple": ("violet", "amethyst"),
    "pink": ("rose", "rosy"),
    "brown": ("chocolate", "chestnut"),
    "beige": ("sand-coloured", "sandy"),
}

#: Attribute -> value -> words for it besides the value itself. Within an attribute no word names two values.
SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "gender": {"man": ("guy", "gentleman", "male", "bloke"), "woman": ("lady", "female", "gal")},
    "hair_length": {
        "short": ("cropped", "close-cropped"),
        "shoulder-length": ("medium-length", "mid-length"),
        "long": ("flowing", "very long"),
    },
    "hair_colour": {
        "black": ("jet-black", "raven"),
        "brown": ("chestnut", "brunette"),
        "blonde": ("blond", "fair", "golden"),
        "grey": ("gray", "silver"),
        "red": ("ginger", "copper"),
    },
    "upper_type": {
        "t-shirt": ("tee", "tee shirt"),
        "shirt": ("blouse", "button-up"),
        "hoodie": ("hooded sweatshirt", "hooded jumper", "hoody"),
        "jacket": ("windbreaker", "anorak"),
        "coat": ("overcoat", "trench coat"),
    },
    "pattern": {
        "plain": ("unpatterned", "solid-colour"),
        "striped": ("stripy", "stripey"),
        "checked": ("chequered", "plaid", "checkered"),
        "dotted": ("polka-dot", "spotted"),
    },
    "logo": {"yes": ("emblem", "badge")},
    "lower_type": {
        "trousers": ("pants", "slacks"),
        "shorts": ("bermudas", "short pants"),
        "skirt": ("miniskirt", "short skirt"),
        "long skirt": ("maxi skirt", "ankle-length skirt"),
    },
    "shoe_type": {
        "sneakers": ("trainers", "sports shoes"),
        "boots": ("ankle boots", "lace-up boots"),
        "sandals": ("flip-flops", "open-toed shoes"),
    },
    "bag_type": {
        "backpack": ("rucksack", "knapsack"),
        "shoulder bag": ("messenger bag", "satchel"),
        "handbag": ("purse", "hand-held bag"),
    },
    "hat_type": {
        "cap": ("baseball cap", "peaked cap"),
        "beanie": ("woolly hat", "knitted hat"),
        "wide-brimmed hat": ("sun hat", "floppy hat"),
    },
    "glasses": {"glasses": ("specs", "spectacles"), "sunglasses": ("shades", "dark glasses")},
    "scarf": {"scarf": ("muffler", "neckerchief")},
    "held": {
        "phone": ("mobile", "smartphone", "cell phone"),
        "umbrella": ("brolly", "parasol"),
        "bottle": ("flask", "water bottle"),
        "book": ("paperback", "novel"),
    },
    "action": {
        "standing": ("standing still", "stationary"),
        "walking": ("strolling", "ambling"),
        "running": ("jogging", "sprinting"),
        "waving": ("waving hello", "waving at someone"),
    },
    **{f"{part}_colour": _COLOUR_WORDS for part in ("upper", "lower", "shoe", "bag", "hat", "scarf")},
}


def say(attribute: str, value: str, rng: np.random.Generator, synonyms: float) -> str:
    """A word for ``value``: with probability ``synonyms`` another one than the value's own name."""
    others = SYNONYMS.get(attribute, {}).get(value, ())
    if others and rng.random() < synonyms:
        return others[int(rng.integers(len(others)))]
    return value


def with_article(noun_phrase: str) -> str:
    """``noun_phrase`` behind "a" or "an", or alone if it is plural."""
    return article(noun_phrase) + noun_phrase


def article(noun_phrase: str) -> str:
    """ "a " or "an ", or nothing before a plural (every plural of this world ends in s, and no singular)."""
    if noun_phrase.endswith("s"):
        return ""
    return "an " if noun_phrase[0] in "aeiou" else "a "


@cache
def _pattern(attribute: str, values: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    meaning = {value: value for value in values}
    for value in values:
        meaning.update({word: value for word in SYNONYMS.get(attribute, {}).get(value, ())})
    words = sorted(meaning, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)"), meaning


def find_value(attribute: str, values: tuple[str, ...], text: str) -> str | None:
    """The one of ``values`` that lower-case ``text`` names, by its own name or a synonym, or None.

    The earliest word wins and, of words that start together, the longest ("tee shirt" before "tee").
    """
    pattern, meaning = _pattern(attribute, values)
    hit = pattern.search(text)
    return None if hit is None else meaning[hit.group()]
