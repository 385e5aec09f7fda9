"""The colour of every visible point: plain materials, patterns in the garment's own space, the chest logo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo.pedestrians.attributes import COLOURS, Person
from demo.pedestrians.solids import Solid, Surface

Array = NDArray[np.float32]

#: Side of a pattern's repeat, in world units (the figure is about 1.8 tall).
_REPEAT = 0.088
#: Radius of the chest logo and its place on the torso (x to the person's left, y below the shoulders).
_LOGO = (0.075, 0.062, -0.135)


def palette(person: Person, rng: np.random.Generator) -> dict[str, Array]:
    """RGB of every material. ``rng`` varies what is no attribute: lips, umbrella, book cover."""
    look = person.attributes

    def named(attribute: str) -> Array:
        return np.array(COLOURS[look[attribute]], np.float32)

    upper = named("upper_colour")
    colours = {
        "skin": np.array(person.skin, np.float32),
        "hair": hair_colour(look["hair_colour"]),
        "upper": upper,
        "upper flat": upper,
        "upper dark": _darker(upper),
        "trim": _contrast(upper) * 0.9 + 0.05,
        "lining": np.array((0.90, 0.89, 0.85) if upper.mean() < 0.75 else (0.22, 0.22, 0.25), np.float32),
        "lower": named("lower_colour"),
        "shoe": named("shoe_colour"),
        "sole": np.array(
            (0.93, 0.93, 0.92) if look["shoe_colour"] != "white" else (0.55, 0.56, 0.58), np.float32
        ),
        "sole dark": np.array((0.10, 0.09, 0.08), np.float32),
        "bag": named("bag_colour"),
        "bag dark": _darker(named("bag_colour")),
        "hat": named("hat_colour"),
        "hat dark": _darker(named("hat_colour")),
        "scarf": named("scarf_colour"),
    }
    colours["face"] = colours["skin"]
    fixed = {
        "lips": (0.62, 0.22, 0.22), "eye": (0.06, 0.05, 0.05), "dark lens": (0.03, 0.03, 0.04),
        "frame": (0.08, 0.07, 0.07), "lens": (0.80, 0.88, 0.92), "phone": (0.06, 0.06, 0.07),
        "screen": (0.55, 0.80, 0.95), "wood": (0.40, 0.24, 0.12), "water": (0.62, 0.85, 0.94),
        "cap": (0.10, 0.35, 0.75), "cord": (0.93, 0.93, 0.90), "paper": (0.95, 0.94, 0.88),
    }  # fmt: skip
    colours |= {name: np.array(rgb, np.float32) for name, rgb in fixed.items()}
    accents = [
        np.array(COLOURS[name], np.float32) for name in ("red", "blue", "green", "purple", "yellow", "black")
    ]
    colours["umbrella"] = accents[rng.integers(len(accents))] * 0.8
    colours["cover"] = accents[rng.integers(len(accents))]
    return colours


def hair_colour(name: str) -> Array:
    rgb = {"black": (0.05, 0.04, 0.04), "brown": (0.33, 0.19, 0.09), "blonde": (0.90, 0.74, 0.36),
           "grey": (0.66, 0.66, 0.67), "red": (0.72, 0.25, 0.07)}[name]  # fmt: skip
    return np.array(rgb, np.float32)


def _contrast(colour: Array) -> Array:
    light = float(colour @ np.array((0.3, 0.55, 0.15)))
    return np.array((0.95, 0.95, 0.93) if light < 0.45 else (0.08, 0.08, 0.12), np.float32)


def _darker(colour: Array) -> Array:
    """The same hue in shade; nearly black is lifted instead, so that the part still shows."""
    return np.asarray(colour * 0.62 if colour.max() > 0.15 else colour + 0.16, np.float32)


def albedo(surface: Surface, solids: list[Solid], person: Person, colours: dict[str, Array]) -> Array:
    """(H, W, 3) float32 base colour in [0, 1]; zero where no solid is seen."""
    table = np.stack([colours[solid.material] for solid in solids])
    seen = surface.index >= 0
    result = np.zeros((*surface.index.shape, 3), np.float32)
    result[seen] = table[surface.index[seen]]
    pattern = person.attributes["pattern"]
    if pattern != "plain":
        second = _contrast(colours["upper"])
        for number, solid in enumerate(solids):
            if solid.material == "upper" and solid.part in ("upper", "sleeve"):
                mask = surface.index == number
                if mask.any():
                    marked = _marked(pattern, solid, surface.local[mask])
                    colour = result[mask]
                    strength = marked[:, None] * (0.85 if pattern != "checked" else 0.75)
                    result[mask] = colour + strength * (second - colour)
    if person.attributes["logo"] == "yes":
        area = logo_area(surface, solids)
        rim = area > 0.72
        result[area > 0] = (
            (0.98, 0.80, 0.05) if person.attributes["upper_colour"] != "yellow" else (0.85, 0.1, 0.1)
        )
        result[rim] = (0.08, 0.08, 0.30)
    return result


def _metric(solid: Solid, local: Array) -> tuple[Array, Array]:
    """World-length coordinates of canonical points on the surface: around the axis and along it."""
    sides = np.linalg.norm(solid.frame, axis=0)
    if solid.shape == "cone":
        around = np.arctan2(local[:, 0], local[:, 2]) * max(sides[0] * 0.8, 0.05)
        return around, local[:, 1] * sides[1]
    return local[:, 0] * sides[0], local[:, 1] * sides[1]


def _marked(pattern: str, solid: Solid, local: Array) -> Array:
    """1 where the second colour of the pattern lies, per point."""
    around, along = _metric(solid, local)
    if pattern == "striped":
        return (np.mod(along, _REPEAT) < 0.46 * _REPEAT).astype(np.float32)
    if pattern == "checked":
        one = np.mod(along, _REPEAT) < 0.5 * _REPEAT
        other = np.mod(around + 0.25 * _REPEAT, _REPEAT) < 0.5 * _REPEAT
        return (one ^ other).astype(np.float32)
    u = np.mod(around, _REPEAT) / _REPEAT - 0.5
    v = np.mod(along, _REPEAT) / _REPEAT - 0.5
    return (u * u + v * v < 0.31**2).astype(np.float32)


def logo_area(surface: Surface, solids: list[Solid]) -> Array:
    """(H, W) squared radius in (0, 1] where the place of a logo is visible, 0 elsewhere.

    The place is a disc on the front of the torso; it is defined whether or not a logo is printed there.
    """
    area = np.zeros(surface.index.shape, np.float32)
    radius, left, below = _LOGO
    for number, solid in enumerate(solids):
        if solid.part != "upper" or solid.material not in ("upper", "lining", "trim"):
            continue
        mask = surface.index == number
        if not mask.any():
            continue
        world = surface.local[mask] @ solid.frame.T.astype(np.float32) + solid.origin.astype(np.float32)
        top = max(s.origin[1] for s in solids if s.part == "upper" and s.shape == "ball")
        squared = ((world[:, 0] - left) ** 2 + (world[:, 1] - top - below) ** 2) / radius**2
        area[mask] = np.where((squared <= 1) & (world[:, 2] > 0.03), np.maximum(squared, 1e-3), 0)
    return area
