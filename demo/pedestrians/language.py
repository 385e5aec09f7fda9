"""What is said about a rendered person: canonical answers, the static caption, and how answers are read back.

``visible`` everywhere is what one picture shows: attribute -> value, "cannot tell" where the region is
hidden, or None where there is no such thing or it is ambiguous (never asked, never said).
Free descriptions, with synonyms and styles, are in ``descriptions``; they are offered from here too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.corruption import changed, corrupt
from demo.pedestrians.descriptions import STYLES, Description, Phrase, describe, plain_caption
from demo.pedestrians.words import find_value, with_article

__all__ = [
    "CANNOT_TELL",
    "STYLES",
    "TOPIC_ATTRIBUTES",
    "Description",
    "Phrase",
    "answer",
    "changed",
    "corrupt",
    "describe",
    "parse_answer",
    "plain_caption",
    "static_caption",
]

CANNOT_TELL = "cannot tell"
_CANNOT_TELL_SENTENCE = "Cannot tell."

Visible = Mapping[str, str | None]

#: Question topic -> the attributes its answer speaks about.
TOPIC_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "gender": ("gender",),
    "hair": ("hair_length", "hair_colour"),
    "upper": ("upper_type", "upper_colour"),
    "cut": ("pattern", "sleeves"),
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

#: What a thing is called whose colour is seen and whose kind is not.
_SOMETHING = {
    "upper": "upper garment",
    "lower": "lower garment",
    "shoes": "shoes",
    "bag": "bag",
    "hat": "hat",
    "scarf": "scarf",
}


def answer(topic: str, visible: Visible) -> str | None:
    """The canonical sentence that answers ``topic`` from what is visible.

    None if the topic must not be asked: nothing of it is known and some of it is None.
    A topic that is partly known is answered by what is known ("The person has long hair.").
    """
    attributes = TOPIC_ATTRIBUTES[topic]
    known = _known(visible, *attributes)
    if not known:
        # A thing whose kind is hidden has no colour to be ambiguous about; a hidden kind decides alone.
        kind = visible.get(attributes[0])
        rest = [visible.get(name) for name in attributes[1:]]
        hidden = kind == CANNOT_TELL and (topic in ("bag", "hat", "scarf") or None not in rest)
        return _CANNOT_TELL_SENTENCE if hidden else None
    if topic == "gender":
        return f"The person is {with_article(known['gender'])}."
    if topic == "hair":
        return f"The person has {_joined(known.get('hair_length'), known.get('hair_colour'))} hair."
    if topic == "cut":
        return _cut(visible, known)
    if topic == "logo":
        return "There is a logo on the chest." if known["logo"] == "yes" else "There is no logo on the chest."
    if topic == "action":
        return f"The person is {known['action']}."
    if topic == "held":
        held = known["held"]
        return f"The person holds {held if held == 'nothing' else with_article(held)}."
    if topic == "glasses":
        return f"The person wears {'no glasses' if known['glasses'] == 'none' else known['glasses']}."
    verb = "carries" if topic == "bag" else "wears"
    return f"The person {verb} {_thing(topic, known)}."


def static_caption(visible: Visible) -> str:
    """T_s, the one-sentence caption: "A woman in a red jacket and blue trousers." as far as visible."""
    who = with_article(_known(visible, "gender").get("gender", "person"))
    garments = [
        _thing(topic, known)
        for topic in ("upper", "lower")
        if (known := _known(visible, *TOPIC_ATTRIBUTES[topic]))
    ]
    worn = f" in {' and '.join(garments)}" if garments else ""
    return f"{who[0].upper()}{who[1:]}{worn}."


def parse_answer(topic: str, text: str) -> dict[str, str]:
    """The attribute values that ``text``, answering ``topic``, states; the inverse of ``answer``.

    Reads synonyms and free wording too. An attribute of the topic that the text leaves out is "cannot
    tell" if another one is stated, and absent if that other one says there is no such thing (no bag, no
    colour). A text that says nothing about the topic gives an empty dict.
    """
    attributes = TOPIC_ATTRIBUTES[topic]
    text = " ".join(text.lower().replace("’", "'").split())
    if _UNSURE.search(text):
        return dict.fromkeys(attributes, CANNOT_TELL)
    if topic == "cut":
        found = {
            "pattern": find_value("pattern", ATTRIBUTES["pattern"], text),
            "sleeves": _read_sleeves(text),
        }
    elif topic == "logo":
        found = {"logo": _read_logo(text)}
    else:
        found = {name: find_value(name, _stated(name), text) for name in attributes}
        kind = attributes[0]
        if found.get("lower_type") == "skirt" and re.search(r"\b(long|maxi)\b.*\bskirt\b", text):
            found["lower_type"] = "long skirt"
        if _ABSENT.get(kind) and _NEGATION.search(text):
            return {kind: _ABSENT[kind]}
    stated = {name: value for name, value in found.items() if value is not None}
    return {name: stated.get(name, CANNOT_TELL) for name in attributes} if stated else {}


#: Attribute of kind -> the value that says there is no such thing.
_ABSENT = {"bag_type": "none", "hat_type": "none", "glasses": "none", "scarf": "none", "held": "nothing"}

_UNSURE = re.compile(
    r"\b(?:can(?:not|'t| not) (?:tell|see|say|be (?:seen|determined|told))"
    r"|not (?:visible|sure|clear|possible)|unclear|unknown|unsure|hard to (?:say|tell)|impossible to|hidden"
    r"|(?:do not|don't) know)\b"
)
_NEGATION = re.compile(
    r"\b(?:no|not|none|nothing|without|never|neither|isn't|doesn't|aren't|empty(?:-handed)?|bare-?headed)\b"
)


def _known(visible: Visible, *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := visible.get(name)) not in (None, CANNOT_TELL)}


def _joined(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _thing(topic: str, known: Mapping[str, str]) -> str:
    """A garment or bag with its colour, "a red jacket", or "no bag"."""
    kind, colour = (known.get(name) for name in TOPIC_ATTRIBUTES[topic])
    if kind == "none":
        return f"no {_SOMETHING[topic]}"
    if kind == "long skirt":
        return with_article(_joined("long", colour, "skirt"))
    return with_article(_joined(colour, kind or _SOMETHING[topic]))


def _cut(visible: Visible, known: Mapping[str, str]) -> str:
    garment = _known(visible, "upper_type").get("upper_type", "garment")
    parts = []
    if "pattern" in known:
        parts.append(f"is {known['pattern']}")
    if "sleeves" in known:
        parts.append(f"has {known['sleeves']} sleeves")
    return f"The {garment} {' and '.join(parts)}."


def _stated(name: str) -> tuple[str, ...]:
    return tuple(value for value in ATTRIBUTES[name] if value not in ("none", "nothing"))


def _read_sleeves(text: str) -> str | None:
    hit = re.search(r"\b(short|long)(?: |-)sleeve", text) or re.search(
        r"\bsleeves?\b.*?\b(short|long)\b", text
    )
    return hit.group(1) if hit else None


def _read_logo(text: str) -> str | None:
    if _NEGATION.search(text):
        return "no"
    return "yes" if re.search(r"\b(?:yes|logo|emblem|badge)\b", text) else None
