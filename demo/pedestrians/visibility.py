"""Which attributes a picture shows, decided by counting the pixels that show them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo.pedestrians.attributes import Person
from demo.pedestrians.parts import PARTS

#: Pixels (of 384 x 128) from which on a thing counts as seen, and up to which it counts as hidden.
_ENOUGH = {
    "hair": 90,
    "upper": 600,
    "sleeve": 220,
    "lower": 260,
    "shoe": 70,
    "bag": 200,
    "hat": 120,
    "scarf": 200,
    "held": 120,
}
_HIDDEN = {"hair": 25, "upper": 100, "sleeve": 40, "lower": 60, "shoe": 12}
CANNOT_TELL = "cannot tell"


def visible_truth(
    person: Person, parts: NDArray[np.uint8], chest_pixels: int, eye_pixels: int
) -> dict[str, str | None]:
    """Attribute -> value, "cannot tell" (its place is hidden), or None (no such thing, or only a guess).

    ``chest_pixels`` and ``eye_pixels`` count what is seen of the places where a logo and glasses would be.
    """
    look = person.attributes
    counts = dict(zip(PARTS, np.bincount(parts.ravel(), minlength=len(PARTS)).tolist(), strict=True))

    def seen(part: str, attribute: str) -> str | None:
        if counts[part] >= _ENOUGH[part]:
            return look[attribute]
        return CANNOT_TELL if counts[part] <= _HIDDEN[part] else None

    def place(pixels: int, attribute: str, enough: int, hidden: int) -> str | None:
        if pixels >= enough:
            return look[attribute]
        return CANNOT_TELL if pixels <= hidden else None

    def thing(part: str, attribute: str, absent: str) -> str | None:
        if look[attribute] == absent:
            return absent
        return look[attribute] if counts[part] >= _ENOUGH[part] else None

    def colour(part: str, kind: str, attribute: str, absent: str) -> str | None:
        present = look[kind] != absent and counts[part] >= _ENOUGH[part]
        return look[attribute] if present else None

    return {
        "gender": look["gender"],
        "hair_length": seen("hair", "hair_length"),
        "hair_colour": seen("hair", "hair_colour"),
        "upper_type": seen("upper", "upper_type"),
        "upper_colour": seen("upper", "upper_colour"),
        "pattern": seen("upper", "pattern"),
        "sleeves": seen("sleeve", "sleeves"),
        "logo": place(chest_pixels, "logo", 150, 8),
        "lower_type": seen("lower", "lower_type"),
        "lower_colour": seen("lower", "lower_colour"),
        "shoe_type": seen("shoe", "shoe_type"),
        "shoe_colour": seen("shoe", "shoe_colour"),
        "bag_type": thing("bag", "bag_type", "none"),
        "bag_colour": colour("bag", "bag_type", "bag_colour", "none"),
        "hat_type": thing("hat", "hat_type", "none"),
        "hat_colour": colour("hat", "hat_type", "hat_colour", "none"),
        "glasses": place(eye_pixels, "glasses", 60, 6),
        "scarf": thing("scarf", "scarf", "none"),
        "scarf_colour": colour("scarf", "scarf", "scarf_colour", "none"),
        "held": thing("held", "held", "nothing"),
        "action": look["action"],
    }
