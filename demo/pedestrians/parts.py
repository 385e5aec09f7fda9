"""What a pixel of a rendered picture can belong to."""

from __future__ import annotations

#: Index 0 is no part of the person. The order is part of the corpus's format.
PARTS = (
    "scene",
    "skin",
    "face",
    "hair",
    "upper",
    "sleeve",
    "lower",
    "shoe",
    "bag",
    "hat",
    "glasses",
    "scarf",
    "held",
)
