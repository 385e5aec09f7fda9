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
    assert "understood: lower colour: red" in shown and "understood: hat kind: none" in shown
    assert "taken back: no" in shown and len(end.turns) == 1 and described == []
    assert [int(row) for row in end.order[:2]] == [2, 3]


def test_words_that_no_facet_knows_are_compared_as_text() -> None:
    end, _, described = session("with a tattoo on the neck", "q")
    assert described == ["somebody. with a tattoo on the neck"] and end.order[0] == 3


@pytest.mark.parametrize("line", ["99", "", "?!", "u", "blue " * 500])
def test_nonsense_is_answered_and_changes_nothing(line: str) -> None:
    end, shown, _ = session(line, "q")
    assert end.turns == () and (
        "choose 0 to" in shown or "a number" in shown or "nothing to undo" in shown or "too long" in shown
    )


def test_the_end_of_the_input_ends_the_conversation_and_cannot_tell_goes_on() -> None:
    end, shown, _ = session("0", "0")
    assert len(end.turns) == 2 and "No question would tell" in shown
    assert session()[0].turns == ()
