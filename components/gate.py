"""Decide whether the trained model may become a release."""

import json
from pathlib import Path
from typing import Any

from kfp import dsl

from components import page
from ctgi.errors import CtgiError


def gate(
    evaluation: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    metric: str = "R@1",
    floor: float = 0.0,
    min_gain: float = 0.0,
) -> str:
    """Decide whether the trained model may become a release: "pass" or "keep" (what serves).

    Args:
        evaluation: results of every query, of the trained model and of the serving release if there is one.
        metrics: the metric, the floor, the gain.
        report: the decision and its reasons.
        metric: the metric that decides.
        floor: the least it has to be, in percent.
        min_gain: the least it has to gain on the serving release on the same queries, in points; below 0
            allows a loss.

    Returns:
        "pass" or "keep".
    """
    from components.gate import decide
    from components.step import measured, step

    with step("gate"):
        decision, told = decide(evaluation.path, report.path, metric, floor, min_gain)
        measured(metrics, told)
        return decision


def decide(
    evaluation: str, report: str, metric: str, floor: float, min_gain: float
) -> tuple[str, dict[str, float]]:
    from ctgi.evaluation.bootstrap import paired_difference
    from ctgi.evaluation.metrics import METRICS

    if metric not in METRICS:
        raise CtgiError(f"metric {metric!r}: choose one of {', '.join(METRICS)}")
    folder = Path(evaluation)
    trained = load_evaluation(folder / "trained.npz")
    value = trained.summary()[metric]
    told = {metric: value, "floor": floor}
    lines = [f"{metric} {value:.2f}, at least {floor:g}: {_word(value >= floor)}"]
    passed = value >= floor
    if (folder / "serving.npz").is_file():
        gain = paired_difference(load_evaluation(folder / "serving.npz"), trained)[metric]
        passed = passed and gain.value >= min_gain
        told |= {"gain": gain.value, "min_gain": min_gain}
        lines.append(
            f"gain on the serving release {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}], "
            f"at least {min_gain:g}: {_word(gain.value >= min_gain)}"
        )
    else:
        lines.append("nothing serves yet: the floor alone decides")
    decision = "pass" if passed else "keep"
    lines.append(f"decision: {decision}")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    page.write(report, f"measured on {about['where']}\n\n" + "".join(f"- {line}\n" for line in lines))
    print("; ".join(lines), flush=True)
    return decision, told


def _word(right: bool) -> str:
    return "yes" if right else "no"


def load_evaluation(path: Path) -> Any:
    """One of the files that `evaluate` wrote, as `ctgi.evaluation.metrics.Evaluation`."""
    import numpy as np

    from ctgi.evaluation.metrics import Evaluation

    with np.load(path, allow_pickle=False) as file:
        fields = {name: file[name] for name in file.files}
    return Evaluation(**fields | {name: int(fields[name]) for name in ("excluded", "gallery")})


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(gate))
