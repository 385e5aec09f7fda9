"""What a rendered person is made of: the attributes, their values, and how a person is drawn at random.

Every attribute is sampled independently of every other (skin tone, which is no attribute, included), so
no value gives another away. An attribute that only makes sense beside another (the colour of a hat nobody
wears) is sampled all the same and simply not visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: RGB in [0, 1], as painted before light, tint and shade.
COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.05, 0.05, 0.06),
    "white": (0.95, 0.95, 0.93),
    "grey": (0.48, 0.48, 0.50),
    "red": (0.80, 0.08, 0.10),
    "yellow": (0.95, 0.82, 0.10),
    "green": (0.10, 0.52, 0.20),
    "blue": (0.12, 0.25, 0.78),
    "purple": (0.47, 0.14, 0.60),
    "pink": (0.97, 0.50, 0.70),
    "brown": (0.42, 0.24, 0.10),
    "orange": (0.96, 0.48, 0.06),
    "blonde": (0.88, 0.72, 0.34),
    "beige": (0.83, 0.74, 0.56),
}

_GARMENT = ("black", "white", "grey", "red", "yellow", "green", "blue", "purple", "pink", "brown")
_ACCENT = ("black", "white", "red", "yellow", "green", "blue", "pink", "brown")

#: Attribute -> its values. Order is part of the data format: heads and reports index into it.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "gender": ("man", "woman"),
    "hair_length": ("short", "shoulder-length", "long"),
    "hair_colour": ("black", "brown", "blonde", "grey", "red"),
    "upper_type": ("t-shirt", "shirt", "hoodie", "jacket", "coat"),
    "upper_colour": _GARMENT,
    "pattern": ("plain", "striped", "checked", "dotted"),
    "sleeves": ("short", "long"),
    "logo": ("no", "yes"),
    "lower_type": ("trousers", "shorts", "skirt", "long skirt"),
    "lower_colour": ("black", "white", "grey", "blue", "green", "brown", "red", "beige"),
    "shoe_type": ("sneakers", "boots", "sandals"),
    "shoe_colour": ("black", "white", "brown", "red"),
    "bag_type": ("none", "backpack", "shoulder bag", "handbag"),
    "bag_colour": _ACCENT,
    "hat_type": ("none", "cap", "beanie", "wide-brimmed hat"),
    "hat_colour": _ACCENT,
    "glasses": ("none", "glasses", "sunglasses"),
    "scarf": ("none", "scarf"),
    "scarf_colour": _ACCENT,
    "held": ("nothing", "phone", "umbrella", "bottle", "book"),
    "action": ("standing", "walking", "running", "waving"),
}

#: Values that are sampled more often than their equal share, so that crowds look like crowds.
_WEIGHTS: dict[str, tuple[float, ...]] = {
    "pattern": (0.40, 0.20, 0.20, 0.20),
    "logo": (0.6, 0.4),
    "bag_type": (0.28, 0.24, 0.24, 0.24),
    "hat_type": (0.34, 0.22, 0.22, 0.22),
    "glasses": (0.40, 0.30, 0.30),
    "scarf": (0.6, 0.4),
    "held": (0.28, 0.18, 0.18, 0.18, 0.18),
}


@dataclass(frozen=True)
class Person:
    """One identity: attribute name -> value, and what is individual but not an attribute.

    ``skin`` is an RGB triple in [0, 1]; ``stature`` scales the whole figure, ``build`` its girth.
    """

    attributes: dict[str, str]
    skin: tuple[float, float, float]
    stature: float
    build: float


_SKIN = np.array(
    [(0.96, 0.80, 0.69), (0.89, 0.70, 0.55), (0.76, 0.57, 0.42), (0.58, 0.40, 0.28), (0.38, 0.25, 0.18)]
)


def sample_person(rng: np.random.Generator) -> Person:
    """Draw one person; attributes are independent of each other, of skin and of stature."""
    attributes = {name: str(rng.choice(values, p=_WEIGHTS.get(name))) for name, values in ATTRIBUTES.items()}
    tone = rng.uniform(0, len(_SKIN) - 1)
    low = int(tone)
    skin = _SKIN[low] + (tone - low) * (_SKIN[min(low + 1, len(_SKIN) - 1)] - _SKIN[low])
    return Person(
        attributes=attributes,
        skin=(float(skin[0]), float(skin[1]), float(skin[2])),
        stature=float(rng.uniform(0.94, 1.04)),
        build=float(rng.uniform(0.92, 1.12)),
    )
