"""The styles people describe in: a list, sentences, a search, a witness, a caption, a rambling account.

Each turns the same clauses into text and keeps track of where every claim stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demo.pedestrians.asides import ASIDES, HEDGES
from demo.pedestrians.clauses import Clause, Piece
from demo.pedestrians.words import article

#: The last one, with its asides, is only used on request: it can pass 248 tokens.
STYLES = ("list", "sentences", "seeking", "witness", "caption", "rambling")

Who = tuple[str, str] | None  # (gender, the word for it), None: it is not told

_PARTICIPLE = {
    "have": ("with ",),
    "wear": ("wearing ", "in ", "dressed in "),
    "carry": ("carrying ", "with "),
    "hold": ("holding ",),
    "do": ("",),
}
_PRESENT = {
    "have": ("has ",),
    "wear": ("wears ", "is wearing ", "has on "),
    "carry": ("carries ", "is carrying ", "has "),
    "hold": ("holds ", "is holding "),
    "do": ("is ",),
}
_PAST = {
    "have": ("had ",),
    "wear": ("wore ", "was wearing ", "had on "),
    "carry": ("carried ", "was carrying ", "had "),
    "hold": ("held ", "was holding "),
    "do": ("was ",),
}
_DENIED = {"have": "having", "wear": "wearing", "carry": "carrying", "hold": "holding"}


class Text:
    """Text under construction, with the spans of the claims made so far."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[tuple[dict[str, str], int, int]] = []

    def add(self, *pieces: str | Piece) -> None:
        for piece in pieces:
            words, values = (piece, None) if isinstance(piece, str) else piece
            if values:
                self.spans.append((values, len(self.text), len(self.text) + len(words)))
            self.text += words

    def capitalise(self, start: int) -> None:
        """Make the letter at ``start`` a capital; lengths do not change."""
        self.text = self.text[:start] + self.text[start : start + 1].upper() + self.text[start + 1 :]


def write(style: str, who: Who, clauses: Sequence[Clause], rng: np.random.Generator) -> Text:
    """The text of ``clauses`` about ``who`` in ``style``, one of ``STYLES``."""
    order = list(clauses)
    if rng.random() < 0.5:
        order = [order[int(i)] for i in rng.permutation(len(order))]
    text = Text()
    _WRITERS[style](text, who, order, rng)
    return text


def _list(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """ "Woman, long black hair, striped red jacket, no bag" """
    articles = rng.random() < 0.3
    separator = _pick((", ", ", ", "; ", " - "), rng)
    fragments: list[list[str | Piece]] = []
    if who is not None:
        fragments.append([(who[1], {"gender": who[0]})])
    for clause in clauses:
        pieces: list[str | Piece] = [*clause.pieces]
        if clause.absent == "anything":
            pieces = [(_pick(("nothing in the hands", "empty-handed"), rng), clause.pieces[0][1])]
        elif clause.sense == "hold" and not clause.absent:
            pieces = [_pick(("holding ", "with "), rng), clause.article, *pieces]
        elif articles:
            pieces = [clause.article, *pieces]
        fragments.append(pieces)
    if not fragments:
        text.add("person")
    for index, fragment in enumerate(fragments):
        text.add(*([separator] if index else []), *fragment)
    if rng.random() < 0.7:
        text.capitalise(0)
    if rng.random() < 0.5:
        text.add(".")


def _caption(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """ "a photo of a woman in a red jacket and blue trousers, carrying a backpack" """
    text.add(_pick(("", "", "a photo of ", "a picture of "), rng))
    _head_with_participles(text, who, clauses, rng)
    if rng.random() < 0.5:
        text.capitalise(0)
        text.add(".")


def _seeking(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """ "Looking for a guy with short brown hair, wearing a red jacket and blue trousers." """
    openings = (
        "Looking for ",
        "I'm looking for ",
        "Find ",
        "Please find ",
        "Has anyone seen ",
        "Search for ",
    )
    opening = _pick(openings, rng)
    text.add(opening)
    _head_with_participles(text, who, clauses, rng)
    text.add("?" if opening.startswith("Has") else ".")


def _sentences(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """ "A woman with long black hair. She wears a red jacket and blue trousers. She carries no bag." """
    _opened_account(text, who, clauses, rng, ("", "", "This is ", "The picture shows "), _PRESENT)


def _witness(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """ "I saw a guy. He was wearing a red jacket, I think." """
    openings = ("I saw ", "I noticed ", "There was ", "It was ", "The one I mean was ")
    _opened_account(text, who, clauses, rng, openings, _PAST, hedges=0.25)


def _rambling(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    """A witness who says one thing at a time, with asides before and between."""
    asides = [ASIDES[int(i)] for i in rng.permutation(len(ASIDES))]
    talkative = rng.uniform(0.2, 0.95)
    text.add(asides.pop(), " ")
    for index, clause in enumerate(clauses or [None]):
        if index == 0:
            start = len(text.text)
            text.add(_pick(("I saw ", "I noticed ", "There was "), rng))
            _head(text, who)
            text.add(".")
            text.capitalise(start)
        if clause is not None:
            _finite_sentence(text, who, [[clause]], rng, _PAST, hedges=0.4)
        for _ in range(int(rng.binomial(2, talkative))):
            if asides:
                text.add(" ", asides.pop())


_WRITERS = {
    "list": _list,
    "sentences": _sentences,
    "seeking": _seeking,
    "witness": _witness,
    "caption": _caption,
    "rambling": _rambling,
}


def _opened_account(
    text: Text,
    who: Who,
    clauses: list[Clause],
    rng: np.random.Generator,
    openings: Sequence[str],
    verbs: dict[str, tuple[str, ...]],
    hedges: float = 0.0,
) -> None:
    runs = _runs(clauses)
    if who is not None or not runs or rng.random() < 0.5:
        text.add(_pick(openings, rng))
        first = [clause for clause in runs.pop(0)] if runs and rng.random() < 0.6 else []
        _head_with_participles(text, who, first, rng)
        text.add(".")
        text.capitalise(0)
    while runs:
        count = 2 if len(runs) > 1 and rng.random() < 0.4 else 1
        _finite_sentence(text, who, runs[:count], rng, verbs, hedges)
        del runs[:count]


def _head(text: Text, who: Who) -> None:
    if who is None:
        text.add("a person")
    else:
        text.add(article(who[1]), (who[1], {"gender": who[0]}))


def _head_with_participles(text: Text, who: Who, clauses: list[Clause], rng: np.random.Generator) -> None:
    _head(text, who)
    for index, run in enumerate(_runs(clauses)):
        text.add(" " if index == 0 else ", ")
        if run[0].absent:
            _absence(text, run[0], rng)
        else:
            options = _PARTICIPLE[run[0].sense]
            # Nobody is dressed in a hat, glasses or a scarf.
            text.add(_pick(options[:1] if run[0].group in ("glasses", "hat", "scarf") else options, rng))
            _enumerate(text, run)


def _absence(text: Text, clause: Clause, rng: np.random.Generator) -> None:
    """ "with no hat", "without a hat", "not wearing a hat": the claim is the whole of it."""
    values = clause.pieces[0][1]
    if clause.absent == "anything":
        text.add((_pick(("holding nothing", "empty-handed", "not holding anything"), rng), values))
        return
    forms = (
        f"with {clause.pieces[0][0]}",
        f"without {clause.absent}",
        f"not {_DENIED[clause.sense]} {clause.absent}",
    )
    text.add((_pick(forms[: 2 if clause.sense == "have" else 3], rng), values))


def _finite_sentence(
    text: Text,
    who: Who,
    runs: list[list[Clause]],
    rng: np.random.Generator,
    verbs: dict[str, tuple[str, ...]],
    hedges: float = 0.0,
) -> None:
    if text.text:
        text.add(" ")
    text.add(_subject(who, rng))
    for index, run in enumerate(runs):
        text.add(" and " if index else " ")
        clause = run[0]
        if clause.absent and clause.sense != "have" and rng.random() < 0.4:
            text.add("is " if verbs is _PRESENT else "was ")
            text.add((f"not {_DENIED[clause.sense]} {clause.absent}", clause.pieces[0][1]))
        else:
            text.add(_pick(verbs[clause.sense], rng))
            _enumerate(text, run)
    if hedges and rng.random() < hedges:
        text.add(_pick(HEDGES, rng))
    text.add(".")


def _subject(who: Who, rng: np.random.Generator) -> str:
    if who is None:
        return _pick(("The person", "This person"), rng)
    pronoun = "He" if who[0] == "man" else "She"
    return pronoun if rng.random() < 0.8 else f"The {who[0]}"


def _enumerate(text: Text, run: list[Clause]) -> None:
    """ "a red jacket, blue trousers and white sneakers" """
    for index, clause in enumerate(run):
        text.add("" if index == 0 else " and " if index == len(run) - 1 else ", ")
        text.add(clause.article, *clause.pieces)


def _runs(clauses: list[Clause]) -> list[list[Clause]]:
    """Neighbours of one sense together; an absence stands alone."""
    runs: list[list[Clause]] = []
    for clause in clauses:
        alike = runs and runs[-1][0].sense == clause.sense and not (clause.absent or runs[-1][0].absent)
        if alike:
            runs[-1].append(clause)
        else:
            runs.append([clause])
    return runs


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
