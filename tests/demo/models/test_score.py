"""Scores: the ROC-AUC against counting pairs, and people who are the same every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from demo.models.corpus import encode, render_chunk
from demo.models.score import roc_auc, table, unseen
from demo.pedestrians.attributes import ATTRIBUTES

cases = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({truth for _, truth in rows}) == 2
)


@given(cases)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([s for s, _ in rows], float), np.array([t for _, t in rows])
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[truth] for b in scores[~truth]]
    assert roc_auc(scores, truth) == pytest.approx(sum(won) / len(won))


@given(cases)
def test_roc_auc_turns_over_with_the_scores_and_ignores_their_scale(rows: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([s for s, _ in rows], float), np.array([t for _, t in rows])
    assert roc_auc(scores, truth) + roc_auc(-scores, truth) == pytest.approx(1)
    assert roc_auc(np.exp(scores), truth) == pytest.approx(roc_auc(scores, truth))


def test_scored_people_are_the_same_every_time_and_not_in_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    people = unseen(2)
    assert people == unseen(3)[:2]
    with Image.open(io.BytesIO(people[0].picture)) as picture:
        assert (picture.size, picture.format) == ((128, 384), "JPEG") and not picture.getexif()
    monkeypatch.setattr("demo.models.corpus.CHUNK", 2)
    trained = {tuple(row) for row in render_chunk(20_000, 0).labels.tolist()}
    assert not trained & {tuple(encode(seen.visible)) for seen in people}


def test_the_table_shows_every_attribute_and_the_judge() -> None:
    judge = {"auc": 0.9712, "auc_one_detail": 0.8123, "yes_when_true": 0.9, "yes_when_stranger": 0.1,
             "yes_when_one_detail_differs": 0.3, "cases": 40}  # fmt: skip
    rows = {name: {"right": 0.5, "asked": 7} for name in ATTRIBUTES}
    shown = table({"attributes": rows, "mean": 0.5, "judge": judge})
    assert all(any(line.startswith(name) for line in shown.splitlines()) for name in ATTRIBUTES)
    assert "0.9712" in shown and "0.8123" in shown and max(map(len, shown.splitlines())) < 110
