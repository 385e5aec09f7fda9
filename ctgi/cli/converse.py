"""`ctgi search --converse`: the search asks back, in the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.config import MTIConfig
    from ctgi.interaction.converse import Asked, Conversation
    from ctgi.interaction.dossier import Dossiers

#: Pictures nearest to the query that the conversation is about.
CANDIDATES = 10_000
#: Characters of a line that are read.
LONGEST = 2000
HELP = "a number, words of your own, 0 cannot tell, u undo, q done"


@dataclass
class Terminal:
    """Lines out and in; what is longer than `width` is broken between words."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    into: TextIO = field(default_factory=lambda: sys.stdin)
    width: int = field(default_factory=lambda: shutil.get_terminal_size().columns)

    def say(self, line: str = "") -> None:
        indent = " " * (len(line) - len(line.lstrip()))
        parts = textwrap.wrap(line, self.width, subsequent_indent=indent, break_long_words=False)
        print("\n".join(parts), file=self.out)

    def read(self) -> str | None:
        """A line; None at the end of the input, which Ctrl-C is as well: what was said so far counts."""
        print("> ", end="", file=self.out, flush=True)
        try:
            line = self.into.readline()
        except KeyboardInterrupt:
            line = ""
        except UnicodeDecodeError:
            return "?"
        if not self.into.isatty() or not line:
            print(line[:LONGEST].rstrip("\n"), file=self.out)
        return line.strip() if line else None


def hold(
    talk: Conversation,
    names: Sequence[str],
    similarity: Callable[[str], NDArray[np.float32]],
    top: int,
    terminal: Terminal | None = None,
) -> Conversation:
    """Ask until the person is done or nothing is left that is worth asking; the conversation at its end.

    Args:
        names: (N,) what each candidate is called on the screen.
        similarity: a description to its float32 (N,) similarities with the candidates.
        top: how many of them are shown.
    """
    terminal = terminal or Terminal()
    _rank(terminal, talk, None, names, top)
    question = talk.question
    _ask(terminal, talk, question)
    while True:
        said = terminal.read()
        if said is None or said.lower() in ("q", "quit", "exit"):
            return talk
        after = _answered(terminal, talk, question, said, similarity)
        if after is not None:
            _rank(terminal, after, talk, names, top)
            talk, question = after, after.question
            _ask(terminal, talk, question)


def _answered(
    terminal: Terminal,
    talk: Conversation,
    question: Asked | None,
    said: str,
    similarity: Callable[[str], NDArray[np.float32]],
) -> Conversation | None:
    """The conversation after a line; None where the line was nothing that could be answered."""
    from ctgi.interaction.converse import heard

    if said.lower() in ("u", "undo"):
        if not talk.turns:
            terminal.say("nothing to undo")
            return None
        terminal.say(f"taken back: {talk.turns[-1].words}")
        return talk.undone()
    if said.isdigit():
        number = int(said)
        if question is None or number > len(question.choices):
            terminal.say(HELP if question is None else f"choose 0 to {len(question.choices)}, or use words")
            return None
        if number == 0:
            return talk.could_not_tell(question.facet)
        return talk.chose(question.facet, question.choices[number - 1].value)
    if len(said) > LONGEST:
        terminal.say(f"that is too long; {LONGEST} characters at once are read")
        return None
    if not any(letter.isalpha() for letter in said):
        terminal.say(HELP)
        return None
    facet = None if question is None else question.facet
    says = heard(said, talk.dossiers, facet)
    for one in says:
        terminal.say(f"  understood: {_told(talk, one)}")
    if not says:
        terminal.say("  no answer of the pictures speaks of that; it counts as similarity alone")
    if any(one.facet == facet for one in says):
        return talk.told(said, says, facet=facet)
    # Words that no facet knows still mean something to the encoder.
    further = talk.told(said, says)
    return talk.told(said, says, similarity=similarity(further.description))


def _told(talk: Conversation, said: Any) -> str:
    from ctgi.interaction.wording import called

    facet = talk.dossiers.facets[said.facet]
    values = [value for value, weight in zip(facet.values, said.weights, strict=True) if weight > 0.5]
    doubt = ", with doubt" if said.doubt else ""
    return f"{called(facet)}: {' or '.join(values)}{doubt}"


def _ask(terminal: Terminal, talk: Conversation, question: Asked | None) -> None:
    if question is None:
        terminal.say()
        terminal.say("No question would tell the candidates apart. Words of your own, u undo, q done")
        return
    settles = min(1.0, question.gain / max(talk.open_nats, 1e-9))
    terminal.say()
    terminal.say(f"{question.text}   (expected to settle {settles:.0%} of what is open)")
    for number, choice in enumerate(question.choices, start=1):
        terminal.say(f"  {number}  {choice.text:<18} {choice.share:5.0%}")
    terminal.say(f"  {HELP}")


def _rank(
    terminal: Terminal, talk: Conversation, before: Conversation | None, names: Sequence[str], top: int
) -> None:
    """The first candidates, and how they moved."""
    was: dict[int, int] = {}
    if before is not None:
        was = {int(row): rank for rank, row in enumerate(before.order, start=1)}
    terminal.say()
    for rank, row in enumerate(talk.order[:top], start=1):
        moved = f"  (was {was[int(row)]})" if was and was[int(row)] != rank else ""
        terminal.say(f"{rank:>3}  {talk.weights[row]:6.1%}  {names[int(row)]}{moved}")


def open_conversation(
    query: str, encoders: OnnxEncoders, gallery: Gallery, dossiers: Dossiers, config: MTIConfig
) -> Conversation:
    """The conversation at its start, about the candidates nearest to the query."""
    from ctgi.errors import CtgiError
    from ctgi.interaction.converse import Conversation
    from ctgi.interaction.reading import read_query

    if not query.strip():
        raise CtgiError("the query has no words; describe the person")
    hits = gallery.search(encoders.encode_texts([query]), CANDIDATES)
    ids = [str(name) for name in hits.ids[0]]
    reading = read_query(query, dossiers.facets)
    return Conversation(dossiers.of(ids), hits.scores[0], query, reading, config)


def similarities(
    encoders: OnnxEncoders, gallery: Gallery, ids: Sequence[str]
) -> Callable[[str], NDArray[np.float32]]:
    """A description to its similarities with these pictures."""
    vectors = gallery.vectors(ids)

    def of(text: str) -> NDArray[np.float32]:
        [vector] = encoders.encode_texts([text])
        scores: NDArray[np.float32] = vectors @ vector
        return scores

    return of


def save_strip(
    start: Conversation, end: Conversation, picture: Callable[[str], Image], top: int, path: Path
) -> None:
    """The first candidates before and after the conversation as a PNG; scores are probabilities."""
    from ctgi.evaluation.figures import Shown, Strip, draw_strip, save_png

    def shown(talk: Conversation) -> list[Shown]:
        rows = [int(row) for row in talk.order[:top]]
        return [Shown(picture(talk.dossiers.ids[row]), None, float(talk.weights[row])) for row in rows]

    said = "; ".join(turn.words for turn in end.turns)
    strip = Strip(start.query, shown(start), shown(end), note=f"said since: {said}" if said else "")
    save_png(draw_strip(strip, top=top), path)
