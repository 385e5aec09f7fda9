"""The words for the values of a facet, from `facets.yaml` and the lexicon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.lexicon import Lexicon, phrase, plurals
from ctgi.interaction.dossier import CANNOT_TELL, Facet

Weights = NDArray[np.float32]
# How well a value agrees with its neighbour in the lexicon's "implies": jeans called trousers, or trousers
# called jeans.
_NEIGHBOUR = 0.5


@dataclass(frozen=True)
class FacetWords:
    """The words for the values of one facet. `means`: canonical word -> value -> how well it agrees."""

    facet: Facet
    detail: str | None
    absent: str | None
    means: Mapping[str, Mapping[str, float]]
    forms: tuple[tuple[str, str], ...]
    """(spelling in lower case, value), for what begins like a word."""

    def weights(self, names: Mapping[str, float]) -> Weights:
        """float32 (V,) over the facet's values, 0 for those that are not named."""
        return np.array([names.get(value, 0.0) for value in self.facet.values], np.float32)

    def without(self, names: Mapping[str, float]) -> Weights:
        """Every value but those named; a neighbour is only denied where it is a kind of what is named."""
        others = {value: 1.0 for value in self.facet.values if not names.get(value) and value != CANNOT_TELL}
        return self.weights(others)


def words_of(entry: Mapping[str, Any], lexicon: Lexicon) -> FacetWords:
    """The words of one entry of `facets.yaml`."""
    values = entry["values"]
    listed = values if isinstance(values, dict) else {value: [] for value in values}
    facet = Facet(entry["topic"], entry["name"], (*listed, CANNOT_TELL))
    detail, absent = entry.get("detail"), entry.get("absent")
    synonyms = defaultdict(list)
    for cue, canonical in lexicon.things.items():
        synonyms[canonical].append(" ".join(cue))
    for cue, (kind, canonical) in lexicon.details.items():
        if kind == detail:
            synonyms[canonical].append(" ".join(cue))
    means: dict[str, dict[str, float]] = defaultdict(dict)
    forms: set[tuple[str, str]] = set()
    for value, more in listed.items():
        for word in (value, *more):
            for form in inflected(word):
                means[_canonical(form, detail, lexicon)][value] = 1.0
                forms.update((spelling, value) for spelling in (form, *synonyms[form]) if value != absent)
    for value in listed:
        broad = lexicon.implies.get(value)
        if broad is not None and broad in listed:
            means[broad].setdefault(value, _NEIGHBOUR)
            means[value].setdefault(broad, _NEIGHBOUR)
    for word in entry.get("loose", ()):
        for form in inflected(word):
            means[_canonical(form, detail, lexicon)] = {v: 1.0 for v in listed if v != absent}
    return FacetWords(facet, detail, absent, dict(means), tuple(sorted(forms)))


def _canonical(form: str, detail: str | None, lexicon: Lexicon) -> str:
    cue = phrase(form)
    if detail is not None and cue in lexicon.details:
        return lexicon.details[cue][1]
    return lexicon.thing(cue)


def inflected(word: str) -> list[str]:
    """A word or phrase with its regular plural."""
    *first, last = word.replace("-", " ").split()
    return list(dict.fromkeys([word, *(" ".join([*first, form]) for form in plurals(last))]))


def extended(lexicon: Lexicon, data: Mapping[str, Any]) -> Lexicon:
    """The lexicon with the further words of the facets' file. What names a thing is no detail: shorts are not
    the plural of short."""
    named = {phrase(value) for entry in data["facets"] if "detail" not in entry for value in entry["values"]}
    details = {cue: detail for cue, detail in lexicon.details.items() if cue not in named}
    things = dict(lexicon.things)
    for kind, names in data["details"].items():
        for canonical, more in names.items():
            details |= {phrase(form): (kind, canonical) for word in more for form in inflected(word)}
    for canonical, more in data["things"].items():
        things |= {phrase(form): canonical for word in more for form in inflected(word)}
    return replace(lexicon, details=details, things=things)
