"""The terminal part of a conversation: numbers, words, undo, nonsense, the end of the input."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ctgi.cli.converse import Terminal, hold
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.converse import Conversation
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import read_query
from ctgi.interaction.vocabulary import default_facets

FACETS = default_facets()
LOOKS = [{"lower/colour": colour, "hat/kind": hat} for colour in ("blue", "red") for hat in ("cap", "none")]


def talk() -> Conversation:
    tables = []
    for facet in FACETS:
        table = np.zeros((len(LOOKS), len(facet.values)), np.float32)
        for row, look in enumerate(LOOKS):
            table[row, facet.values.index(look.get(facet.key, "cannot tell"))] = 1.0
        tables.append(table)
    dossiers = Dossiers(FACETS, tuple("abcd"), tuple(tables))
    return Conversation(
        dossiers, np.zeros(4, np.float32), "somebody", read_query("somebody", FACETS), MTIConfig()
    )


def session(*lines: str) -> tuple[Conversation, str, list[str]]:
    out = io.StringIO()
    described: list[str] = []

    def similarity(text: str) -> np.ndarray:
        described.append(text)
        return np.array([0, 0, 0, 0.4], np.float32)

    end = hold(
        talk(),
        ["a.png", "b.png", "c.png", "d.png"],
        similarity,
        2,
        Terminal(out, io.StringIO("".join(f"{line}\n" for line in lines))),
    )
    return end, out.getvalue(), described


def number_of(text: str, choice: str) -> str:
    """The number in front of a choice in the first question."""
    return next(line.split()[0] for line in text.splitlines() if line.split()[1:2] == [choice])


def test_numbers_choose_and_the_ranking_moves() -> None:
    first = session("q")[1]
    end, shown, _ = session(number_of(first, "red"), "q")
    assert [int(row) for row in end.order[:2]] == [2, 3]
    assert "c.png  (was 3)" in shown and shown.count("> ") == 2 and "expected to settle" in shown
    assert shown.count(".png") == 4  # two rankings of two


def test_words_answer_the_question_and_undo_takes_them_back() -> None:
    end, shown, described = session("dark red", "no", "u", "q")
    assert "understood: lower garment colour: red" in shown and "understood: hat: none" in shown
    assert "taken back: no" in shown and len(end.turns) == 1 and described == []
    assert [int(row) for row in end.order[:2]] == [2, 3]


def test_words_that_no_facet_knows_are_compared_as_text() -> None:
    end, shown, described = session("with a tattoo on the neck", "q")
    assert "no answer of the pictures speaks of that" in shown
    assert described == ["somebody. with a tattoo on the neck"] and end.order[0] == 3


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("99", "choose 0 to 2"),
        ("-1", "a number, words"),
        ("", "a number, words"),
        ("?!", "a number, words"),
        ("u", "nothing to undo"),
        ("blue " * 500, "too long"),
    ],
)
def test_nonsense_is_answered_in_a_line_and_changes_nothing(line: str, hint: str) -> None:
    before = session("q")[1]
    end, shown, _ = session(line, "q")
    assert end.turns == () and hint in shown.removeprefix(before.rsplit("> ", 1)[0])
    assert shown.count("(expected to settle") == 1  # the question is not put again


class Interrupted(io.StringIO):
    """Ctrl-C in the middle of the second line."""

    def readline(self, size: int | None = -1) -> str:
        line = super().readline()
        if not line:
            raise KeyboardInterrupt
        return line


def test_an_interrupt_ends_the_conversation_with_what_was_said() -> None:
    out = io.StringIO()
    terminal = Terminal(out, Interrupted("0\n"))
    end = hold(talk(), ["a", "b", "c", "d"], lambda text: np.zeros(4, np.float32), 2, terminal)
    assert len(end.turns) == 1 and out.getvalue().endswith("> \n")


def test_bytes_that_are_no_text_are_nonsense() -> None:
    into = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8")
    out = io.StringIO()
    end = hold(talk(), list("abcd"), lambda text: np.zeros(4, np.float32), 2, Terminal(out, into))
    assert end.turns == () and "a number, words" in out.getvalue()


def test_lines_fit_a_narrow_terminal() -> None:
    out = io.StringIO()
    terminal = Terminal(out, io.StringIO("q\n"), width=30)
    hold(talk(), list("abcd"), lambda text: np.zeros(4, np.float32), 2, terminal)
    assert max(map(len, out.getvalue().splitlines())) <= 30


def test_the_end_of_the_input_ends_the_conversation_and_cannot_tell_goes_on() -> None:
    end, shown, _ = session("0", "0")
    assert len(end.turns) == 2 and "No question would tell" in shown
    assert session()[0].turns == ()
