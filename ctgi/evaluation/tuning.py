"""MTI's parameters chosen on val: one axis after another, and only what a paired comparison speaks for.

Every value of an axis is tried with the others as they stand. The best one replaces the present one if, over
resamples of the identities, it is better in all but a few; else the present one stays, so that nothing is
chosen for its luck with a hundred queries. Axes are walked until a whole round changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError
from ctgi.evaluation.bootstrap import Difference, paired_difference
from ctgi.evaluation.metrics import Evaluation
from ctgi.interaction.config import MTIConfig

OBJECTIVE = "mAP"
#: Share of resamples that may speak against a change.
WORSE_AT_MOST = 0.2
ROUNDS = 3

#: Judge -> axis -> the values that are tried. What a judge does not read is not an axis of it, and the weight
#: of the answers is none either: rankings depend on its product with the temperature. Of equally good values
#: the first is taken: depth costs dossiers nothing, and a val gallery may be too small to tell.
AXES: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "hard": {
        "lam": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        "k": (5, 10, 20),
        "xi": (0.5, 0.7, 0.85, 0.95),
        "m": (1, 2, 3, 5),
    },
    "soft": {
        "temperature": (0.01, 0.02, 0.04, 0.08, 0.15, 0.3),
        "doubt": (0.02, 0.05, 0.1, 0.2, 0.3),
        "m": (1, 2, 3, 5),
        "lam": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        "k": (10, 20),
        "xi": (0.5, 0.7, 0.85, 0.95),
    },
    "dossier": {
        "temperature": (0.01, 0.02, 0.04, 0.08, 0.15, 0.3),
        "doubt": (0.02, 0.05, 0.1, 0.2, 0.3),
        "k": (400, 200, 100, 50, 20),
        "questions": (2, 4, 8, 13),
        "m": (1, 2, 3, 5),
        "lam": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        "xi": (0.5, 0.7, 0.85, 0.95),
    },
}


@dataclass(frozen=True)
class Trial:
    """One setting that was tried: in which round, which axis had which value, what came out, how it compares
    with the setting that stood (points of the objective), and whether it was taken."""

    round: int
    axis: str
    value: float
    metrics: Mapping[str, float]
    difference: Difference
    taken: bool = False


@dataclass(frozen=True)
class Tuned:
    """The setting that was chosen, its evaluation, and all that was tried on the way."""

    config: MTIConfig
    evaluation: Evaluation
    trials: tuple[Trial, ...]


def tune(
    start: MTIConfig,
    axes: Mapping[str, Sequence[float]],
    measure: Callable[[MTIConfig], Evaluation],
    progress: Callable[[int, int], None] | None = None,
) -> Tuned:
    """Walk the axes from `start`; `measure` evaluates a setting on the val queries, always the same ones.

    `progress` is called with (settings tried, settings to be tried as far as is known). Raises CtgiError for
    an axis that is no field of MTIConfig.
    """
    fields = {field.name for field in dataclasses.fields(MTIConfig)}
    if unknown := sorted(set(axes) - fields):
        raise CtgiError(f"MTI has no parameter {unknown[0]!r} to tune; choose of {', '.join(sorted(fields))}")
    known: dict[MTIConfig, Evaluation] = {}
    per_round = sum(max(0, len(values) - 1) for values in axes.values())

    def evaluated(config: MTIConfig, rounds: int) -> Evaluation:
        if config not in known:
            known[config] = measure(config)
            if progress is not None:
                progress(len(known), max(len(known), 1 + rounds * per_round))
        return known[config]

    now = start
    trials: list[Trial] = []
    for number in range(1, ROUNDS + 1):
        before = now
        for axis, values in axes.items():
            tried = list(_tried(now, axis, values, lambda c, n=number: evaluated(c, n), number))  # type: ignore[misc]
            best = max(tried, key=lambda t: (t.metrics[OBJECTIVE], t.metrics["R@1"]), default=None)
            if best is not None and best.difference.value > 0 and best.difference.worse <= WORSE_AT_MOST:
                tried = [dataclasses.replace(t, taken=t is best) for t in tried]
                now = _with(now, axis, best.value)
            trials += tried
        if now == before:
            break
    return Tuned(now, evaluated(now, 1), tuple(trials))


def _tried(
    now: MTIConfig,
    axis: str,
    values: Sequence[float],
    evaluated: Callable[[MTIConfig], Evaluation],
    number: int,
) -> Iterator[Trial]:
    standing = evaluated(now)
    for value in values:
        config = _with(now, axis, value)
        result = evaluated(config)
        difference = paired_difference(standing, result)[OBJECTIVE]
        yield Trial(number, axis, value, result.summary(), difference)


def _with(config: MTIConfig, axis: str, value: float) -> MTIConfig:
    """The same setting with another value; whole numbers stay whole."""
    whole = isinstance(getattr(config, axis), int)
    changes: dict[str, Any] = {axis: int(value) if whole else float(value)}
    return dataclasses.replace(config, **changes)


def as_record(
    tuned: Tuned, axes: Mapping[str, Sequence[float]], plain: Evaluation, split: str
) -> dict[str, Any]:
    """What goes into the release: the chosen values, and the curve they were chosen by, in JSON values."""
    summary = tuned.evaluation.summary()
    return {
        "settings": {"judge": tuned.config.judge, **{axis: getattr(tuned.config, axis) for axis in axes}},
        "chosen_on": split,
        "queries": len(tuned.evaluation.queries),
        "objective": OBJECTIVE,
        "metrics": summary,
        "without_mti": plain.summary(),
        "curve": [
            {
                "round": trial.round,
                "axis": trial.axis,
                "value": trial.value,
                "mAP": round(trial.metrics["mAP"], 3),
                "R@1": round(trial.metrics["R@1"], 3),
                "R@10": round(trial.metrics["R@10"], 3),
                "against": [round(x, 3) for x in (trial.difference.low, trial.difference.high)],
                "taken": trial.taken,
            }
            for trial in tuned.trials
        ],
    }
