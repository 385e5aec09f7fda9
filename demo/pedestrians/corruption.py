"""Wrong details: a person's truth with a few values changed, for hard negatives and mistaken witnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from demo.pedestrians.attributes import ATTRIBUTES, Person

#: The colour of a thing that may not be there -> the attribute that says whether it is.
COLOUR_OF = {"bag_colour": "bag_type", "hat_colour": "hat_type", "scarf_colour": "scarf"}


def corrupt(
    person_or_visible: Person | Mapping[str, str | None],
    rng: np.random.Generator,
    n: int = 1,
    among: Sequence[str] | None = None,
) -> dict[str, str | None]:
    """A copy in which ``n`` known details have another value; ``changed`` tells which.

    Only details that are known (neither None nor "cannot tell") are changed, and only those ``among``, when
    given. What a change entails follows it and is not counted: a bag that appears gets some colour, the
    colour of a bag that vanishes becomes None. Kind and colour of one thing are not both changed. Fewer are
    changed if fewer are known.
    """
    truth = person_or_visible.attributes if isinstance(person_or_visible, Person) else person_or_visible
    result: dict[str, str | None] = dict(truth)
    for colour, kind in COLOUR_OF.items():
        if result.get(kind) == "none":
            result[colour] = None
    known = [
        name
        for name in ATTRIBUTES
        if result.get(name) in ATTRIBUTES[name] and (among is None or name in among)
    ]
    touched: set[str] = set()  # things of which one detail, kind or colour, has been changed
    for index in rng.permutation(len(known)):
        if n <= 0:
            break
        name = known[int(index)]
        thing = COLOUR_OF.get(name, name)
        if thing in touched:
            continue  # a second change could undo the first: no colour is wrong on a bag that is gone
        touched.add(thing)
        n -= 1
        before = result[name]
        result[name] = _another(ATTRIBUTES[name], before, rng)
        for colour, kind in COLOUR_OF.items():
            if kind == name and result[kind] == "none":
                result[colour] = None
            elif kind == name and before == "none":
                result[colour] = _another(ATTRIBUTES[colour], None, rng)
    return result


def changed(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> tuple[str, ...]:
    """The details that differ, without those that only follow from another (the colour of a new bag)."""
    return tuple(
        name
        for name in ATTRIBUTES
        if before.get(name) != after.get(name)
        and not (name in COLOUR_OF and "none" in (before.get(COLOUR_OF[name]), after.get(COLOUR_OF[name])))
    )


def _another(values: Sequence[str], than: str | None, rng: np.random.Generator) -> str:
    others = [value for value in values if value != than]
    return others[int(rng.integers(len(others)))]
