"""How a person is asked about a facet, in one line."""

from __future__ import annotations

from ctgi.interaction.dossier import Facet

_THINGS = {
    "hair": "hair",
    "upper": "upper garment",
    "lower": "lower garment",
    "shoes": "shoes",
    "bag": "bag",
    "hat": "hat",
    "scarf": "scarf",
}
_PERHAPS = ("bag", "hat", "scarf")
_ASKED = {
    "gender/kind": "Is it a man or a woman?",
    "hair/length": "How long is the hair?",
    "upper/kind": "What is worn on the upper body?",
    "cut/pattern": "What pattern does the upper garment have?",
    "cut/sleeves": "How long are the sleeves?",
    "logo/kind": "Is there a logo on the chest?",
    "lower/kind": "What is worn on the lower body?",
    "shoes/kind": "What kind of shoes?",
    "bag/kind": "What kind of bag, if any?",
    "hat/kind": "What kind of hat, if any?",
    "glasses/kind": "Any glasses?",
    "scarf/kind": "A scarf?",
    "held/kind": "What is held in the hands?",
    "action/kind": "What is the person doing?",
}


def thing(facet: Facet) -> str:
    """The noun that a bare reply leaves out: "blue" is said of the lower garment, "no" of the bag."""
    return _THINGS.get(facet.topic, facet.topic)


def called(facet: Facet) -> str:
    """The facet's name for people: "hat", "lower garment colour"."""
    what = "upper garment" if facet.topic == "cut" else thing(facet)
    return what if facet.name == "kind" else f"{what} {facet.name}"


def asked(facet: Facet) -> str:
    """The question; a facet of a pool of one's own is asked for by its name."""
    if facet.key in _ASKED:
        return _ASKED[facet.key]
    what = thing(facet)
    if facet.name == "colour":
        some = ", if any" if facet.topic in _PERHAPS else ""
        return f"What colour {'are' if what == 'shoes' else 'is'} the {what}{some}?"
    return f"{what.capitalize()}, {facet.name}: which?"
