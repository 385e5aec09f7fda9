"""Parameters are chosen on val by what a paired comparison speaks for, and only by that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctgi.errors import CtgiError
from ctgi.evaluation.curves import save_curves
from ctgi.evaluation.metrics import Evaluation, evaluate
from ctgi.evaluation.tuning import AXES, as_record, tune
from ctgi.interaction.config import MTIConfig

QUERIES = 120


def evaluation(hits: np.ndarray) -> Evaluation:
    """Queries that find their person at rank 1 where `hits`, else at rank 2."""
    ones = np.where(hits, 1, 2)
    count = len(hits)
    return Evaluation(np.arange(count), np.arange(count), ones, 1.0 / ones, 1.0 / ones, 0, 9)


def hill(config: MTIConfig) -> Evaluation:
    """Best at λ 0.4 and doubt 0.2, whatever the rest."""
    share = 0.9 - abs(config.lam - 0.4) - abs(config.doubt - 0.2)
    return evaluation(np.arange(QUERIES) < share * QUERIES)


def test_the_top_of_a_hill_is_found_and_measured_once_each() -> None:
    asked: list[MTIConfig] = []

    def measure(config: MTIConfig) -> Evaluation:
        asked.append(config)
        return hill(config)

    axes = {"lam": (0.2, 0.4, 0.6, 0.8), "doubt": (0.1, 0.2, 0.3)}
    steps: list[tuple[int, int]] = []
    tuned = tune(MTIConfig(judge="dossier"), axes, measure, lambda *at: steps.append(at))
    assert (tuned.config.lam, tuned.config.doubt, tuned.config.judge) == (0.4, 0.2, "dossier")
    assert len(asked) == len(set(asked)) and steps[-1][0] == len(asked) and all(d <= n for d, n in steps)
    assert tuned.evaluation.summary() == hill(tuned.config).summary()
    assert {(t.axis, t.value) for t in tuned.trials if t.taken} == {("lam", 0.4), ("doubt", 0.2)}


def test_a_lucky_query_or_two_move_nothing() -> None:
    def luck(config: MTIConfig) -> Evaluation:
        rng = np.random.default_rng(int(100 * config.lam))
        return evaluation(rng.random(QUERIES) < 0.5)

    values = (0.3, 0.5, 0.7, 0.9)
    taken = 0
    for start in values:
        tuned = tune(MTIConfig(lam=start), {"lam": (start, *values)}, luck)
        for trial in tuned.trials:
            if trial.taken:
                taken += 1
                assert trial.difference.worse <= 0.2 and trial.difference.value > 0
    still = tune(MTIConfig(), {"lam": values}, lambda _: evaluation(np.arange(QUERIES) % 2 == 0))
    assert still.config == MTIConfig() and not any(trial.taken for trial in still.trials)


def test_whole_numbers_stay_whole_and_unknown_axes_are_refused() -> None:
    tuned = tune(MTIConfig(judge="dossier"), {"k": (20, 50)}, lambda c: evaluation(np.arange(50) < c.k - 10))
    assert tuned.config.k == 50 and isinstance(tuned.config.k, int)
    with pytest.raises(CtgiError, match="no parameter 'lambda'"):
        tune(MTIConfig(), {"lambda": (0.1,)}, hill)


@pytest.mark.parametrize("judge", sorted(AXES))
def test_every_value_of_the_shipped_axes_is_a_setting(judge: str) -> None:
    for axis, values in AXES[judge].items():
        for value in values:
            assert getattr(MTIConfig.of({"judge": judge, axis: value}), axis) == value


def test_the_record_is_json_and_its_figure_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = evaluate(
        rng.standard_normal((6, 4)).astype(np.float32),
        rng.standard_normal((6, 4)).astype(np.float32),
        np.arange(6),
        np.arange(6),
    )
    axes = {"lam": (0.2, 0.4, 0.8), "doubt": (0.1, 0.2)}
    record = as_record(tune(MTIConfig(), axes, hill), axes, plain, "val")
    again = json.loads(json.dumps(record))
    assert again["settings"] == {"judge": "hard", "lam": 0.4, "doubt": 0.2}
    assert sum(trial["taken"] for trial in again["curve"]) == 2 and again["queries"] == QUERIES
    save_curves(again, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.width > 400
