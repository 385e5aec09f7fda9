"""``python -m demo.noise``: captions made wrong, cells measured once, and the whole at tiny sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctgi.captioning.composer import Composer
from ctgi.captioning.pool import default_pool
from ctgi.datasets.pseudo import AnswerRecord, PseudoCaption
from demo.noise.__main__ import main
from demo.noise.cell import trust_facts
from demo.noise.corrupt import MOST_WRONG, corrupted, wrong_answers
from demo.noise.grid import PRETRAINED, RATES, Cell, cells
from demo.noise.tell import markdown
from demo.pedestrians.language import parse_answer

ROOT = Path(__file__).resolve().parents[2]
COMPOSER = Composer(default_pool())
ANSWERS = (
    ("hair", "The person has long black hair."),
    ("shoes", "The person wears white boots."),
    ("cut", "The jacket is striped and has long sleeves."),
    ("bag", "The person carries no bag."),
    ("action", "The person is walking."),
)


@pytest.fixture
def captions() -> list[PseudoCaption]:
    rows = []
    for number in range(60):
        pairs = tuple(
            AnswerRecord(topic, "?", answer, 0.9 - number / 1000, topic != "bag", None)
            for topic, answer in ANSWERS
        )
        rows.append(
            PseudoCaption(
                str(number), f"{number}.jpg", number // 3, f"A man numbered {number}.", str(number), pairs
            )
        )
    return rows


def words(captions: list[PseudoCaption]) -> dict[tuple[int, int], tuple[str, float | None]]:
    return {(item.row, item.pair): (item.answer, 0.01) for item in wrong_answers(captions, 7)}


def test_wrong_answers_say_another_thing_of_the_same(captions: list[PseudoCaption]) -> None:
    wanted = wrong_answers(captions, 7)
    assert wanted == wrong_answers(captions, 7) != wrong_answers(captions, 8)
    for item in wanted:
        pair = captions[item.row].pairs[item.pair]
        assert pair.kept
        before, after = parse_answer(pair.topic, pair.answer), parse_answer(pair.topic, item.answer)
        assert before.keys() == after.keys() and sum(before[k] != after[k] for k in before) == 1
        assert "garment" not in item.answer and "none" not in after.values()
    assert all(sum(item.row == row for item in wanted) == MOST_WRONG for row in range(len(captions)))


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_a_share_of_the_captions_is_wrong_and_the_rest_untouched(
    captions: list[PseudoCaption], rate: float
) -> None:
    found = corrupted(captions, rate, words(captions), COMPOSER, 7)
    kinds = np.array(found.kinds)
    assert (kinds != "").sum() == round(60 * rate)
    assert (kinds == "shuffled").sum() == (kinds == "details").sum() == round(60 * rate) // 2
    for before, after, kind in zip(captions, found.captions, kinds, strict=True):
        assert (after.picture_id, after.path, after.identity) == (
            before.picture_id,
            before.path,
            before.identity,
        )
        if kind == "":
            assert after == before
        if kind == "details":  # T_s stands; the changed answers are in the caption with their probabilities
            assert after.static_caption == before.static_caption and after.caption != before.caption
            assert sum(a != b for a, b in zip(after.pairs, before.pairs, strict=True)) == MOST_WRONG
            assert sum(pair.probability == 0.01 for pair in after.pairs) == MOST_WRONG
        if kind == "shuffled":  # a whole interview, of somebody else
            [source] = [row for row in captions if row.pairs == after.pairs and row.caption == after.caption]
            assert source.identity != before.identity
    shuffled = [row.caption for row, kind in zip(found.captions, kinds, strict=True) if kind == "shuffled"]
    own = [row.caption for row, kind in zip(captions, kinds, strict=True) if kind == "shuffled"]
    assert sorted(shuffled) == sorted(own)


def test_who_is_wrong_at_a_low_rate_is_wrong_at_a_higher_one(captions: list[PseudoCaption]) -> None:
    wrong = words(captions)
    kinds = [np.array(corrupted(captions, rate, wrong, COMPOSER, 7).kinds) for rate in RATES]
    for low, high in zip(kinds, kinds[1:], strict=False):
        assert (high[low != ""] == low[low != ""]).all()


def test_what_the_trust_saw_is_told_by_kind() -> None:
    facts = trust_facts(np.array([0.9, 0.8, 0.0, 0.8]), ["", "", "shuffled", "details"])
    assert facts["auc"] == {"shuffled": 1.0, "details": 0.75}
    assert facts["left_out"] == {"right": 0, "shuffled": 1, "details": 0}
    assert facts["mean"]["right"] == pytest.approx(0.85)


def test_the_table_has_every_cell() -> None:
    records: dict[Cell, Any] = {}
    for cell in cells(("irra", "rde"), ("none", "joined"), (0.0, 0.5), 2):
        more = (cell.signal == "joined") * (3.0 if cell.seed == 1 else -1.0)
        r1 = {"value": 10 * cell.seed + 100 * cell.rate + more, "low": 1.0, "high": 2.0}
        trust = {"auc": {"shuffled": 0.5}, "left_out": {"right": 3}} if cell.signal == "joined" else None
        records[cell] = {"metrics": {"detailed": {"R@1": r1}}, "trust": trust}
    low = {"value": 5.0, "low": 4.0, "high": 6.0}
    records[PRETRAINED] = {"metrics": {"detailed": {"R@1": low}}, "trust": None}
    facts = {"queries": {"detailed": 9}, "gallery": 8, "people": 7, "select": "mAP", "captions": 6}
    table = markdown(records, facts)
    assert "| pre-trained CLIP | | 5.0 [4.0, 6.0] | |" in table
    assert "| IRRA | none | 15.0 [10.0, 20.0] | 65.0 [60.0, 70.0] |" in table
    assert "| RDE | joined | +1.0 (1 of 2) | +1.0 (1 of 2) |" in table
    assert "| RDE | joined | 50% | 50 % | - | 3 | - | - |" in table and "Means of 2 seeds" in table


def test_a_dry_run_lists_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--out", str(tmp_path / "out"), "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "96 cells, 96 to do: about" in said and "rde-joined-80-s2" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seeds", "0"], "--seeds 0"),
        (["--models", "blip"], "--models blip: choose of irra, rde"),
        (["--signals", ""], "--signals : choose of none"),
        (["--rates", "120"], "--rates 120: give whole percents"),
        (["--rates", "half"], "--rates half: give whole percents"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (more, [*more, "--dry-run"]):
        assert main([*flags, "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_killed_at_any_point_it_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "demo.noise", "--small", "--out", str(out), "--threads", "1",
               "--rates", "50", "--signals", "none,joined"]  # fmt: skip
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = out / "noise" / "cells" / "irra-none-50-s1.json"
    end = time.monotonic() + 240
    while not done.exists() and first.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert done.exists()
    before = done.read_bytes()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert done.read_bytes() == before and "irra-none" not in again.stdout.split("R@1 on test")[0]
    results = json.loads((out / "noise" / "results.json").read_text(encoding="utf-8"))
    trained = ["irra none", "irra joined", "rde none", "rde joined"]
    assert [f"{cell['model']} {cell['signal']}" for cell in results["cells"]] == ["clip none", *trained]
    joined = results["cells"][2]["trust"]
    assert set(joined["mean"]) <= {"right", "shuffled", "details"} and len(joined["auc"]) == 2
    assert "| IRRA | joined |" in (out / "noise" / "table.md").read_text(encoding="utf-8")
    assert (out / "noise" / "figure.png").stat().st_size > 5000
    assert not any((out / "noise" / "runs").iterdir())
    # The wrong answers' probabilities are the model's: an answer it gave itself is likelier.
    words_ = json.loads((out / "noise" / "words" / "words.json").read_text(encoding="utf-8"))
    assert words_ and all(p is not None and 0 <= p <= 1 for *_, p in words_)
