"""Judging in waves: the same anchor as one by one, whatever the answers, waves and order of replies."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.interaction.anchor import Judged, Verdict, find_anchor, waves

CANDIDATES = [(f"p{i}", 1.0 - i / 100) for i in range(40)]


def one_by_one(answers: list[bool | None]) -> int | None:
    """Sec. 3.3, step 1, as it is written: look at one candidate after another, stop at the first yes."""
    for index, answer in enumerate(answers):
        if answer:
            return index
    return None


class Model:
    """Answers by list after a delay; None is a call that fails. Counts what was asked."""

    def __init__(self, answers: list[bool | None], delays: list[int] | None = None) -> None:
        self.answers = answers
        self.delays = delays or [0] * len(answers)
        self.asked: list[int] = []
        self.finished: list[int] = []

    async def __call__(self, picture: str) -> Verdict:
        index = int(picture[1:])
        self.asked.append(index)
        for _ in range(self.delays[index]):
            await asyncio.sleep(0)
        self.finished.append(index)
        answer = self.answers[index]
        if answer is None:
            raise CtgiError(f"{picture}: no answer")
        return Verdict(answer, 0.9 if answer else 0.1)


@settings(deadline=None, max_examples=200)
@given(
    answers=st.lists(st.booleans(), max_size=25),
    wave=st.integers(1, 30),
    first_alone=st.booleans(),
    data=st.data(),
)
def test_the_anchor_is_that_of_judging_one_by_one(
    answers: list[bool], wave: int, first_alone: bool, data: st.DataObject
) -> None:
    delays = data.draw(st.lists(st.integers(0, 4), min_size=len(answers), max_size=len(answers)))
    model, judged = Model(list(answers), delays), []
    candidates = CANDIDATES[: len(answers)]
    found = asyncio.run(find_anchor(candidates, model, judged, wave=wave, first_alone=first_alone))
    expected = one_by_one(list(answers))
    if expected is None:
        assert found is None and len(judged) == len(answers)
    else:
        assert found == Judged(f"p{expected}", expected + 1, CANDIDATES[expected][1], True, 0.9)
        assert len(model.asked) < expected + 1 + wave  # never a wave beyond the one that holds the anchor
    assert [j.rank for j in judged] == list(range(1, len(judged) + 1))  # in rank order, none twice


@settings(deadline=None)
@given(count=st.integers(0, 60), size=st.integers(1, 70), first_alone=st.booleans())
def test_waves_cover_every_candidate_once(count: int, size: int, first_alone: bool) -> None:
    parts = list(waves(count, size, first_alone))
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(count))
    assert all(0 < stop - start <= size for start, stop in parts)
    if first_alone and count:
        assert parts[0] == (0, 1)


def test_a_yes_to_the_top_candidate_alone_asks_nothing_else() -> None:
    model = Model([True] * 20)
    assert asyncio.run(find_anchor(CANDIDATES[:20], model, [], wave=8, first_alone=True)).rank == 1
    assert model.asked == [0]


def test_what_is_under_way_behind_the_anchor_is_called_off() -> None:
    model = Model([False, True, False, False], delays=[0, 0, 1000, 1000])
    assert asyncio.run(find_anchor(CANDIDATES[:4], model, [], wave=4)).rank == 2
    assert sorted(model.asked) == [0, 1, 2, 3] and sorted(model.finished) == [0, 1]


def test_a_failed_judgement_is_passed_over_and_shown() -> None:
    judged: list[Judged] = []
    found = asyncio.run(find_anchor(CANDIDATES[:3], Model([None, False, True]), judged, wave=2))
    assert found is not None and found.rank == 3
    assert [j.fits for j in judged] == [None, False, True]


@pytest.mark.parametrize(("count", "wave", "asked"), [(20, 4, 4), (2, 4, 2), (3, 1, 1)])
def test_a_model_that_is_gone_is_not_asked_twenty_times(count: int, wave: int, asked: int) -> None:
    model = Model([None] * count)
    with pytest.raises(CtgiError, match="no answer"):
        asyncio.run(find_anchor(CANDIDATES[:count], model, [], wave=wave))
    assert len(model.asked) == asked


def test_without_candidates_there_is_no_anchor() -> None:
    assert asyncio.run(find_anchor([], Model([]), [], wave=8)) is None
