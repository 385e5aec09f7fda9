"""What was tried when parameters were chosen, as small charts: one an axis, what was taken marked."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctgi.storage.atomic import write_bytes

_NAMES = {"lam": "λ (Eq. 7)", "xi": "ξ", "k": "K", "m": "anchors m", "doubt": "prior of doubt"}
_BLUE, _ORANGE = "#1f6feb", "#d9822b"


def save_curves(record: Mapping[str, Any], path: Path | str) -> None:
    """Draw the curve of a tuning record (`tuning.as_record`) to `path`, a PNG, atomically.

    Of an axis the last round is drawn in which it was walked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    objective = str(record["objective"])
    axes: dict[str, list[Mapping[str, Any]]] = {}
    for trial in record["curve"]:
        shown = axes.setdefault(str(trial["axis"]), [])
        if shown and shown[0]["round"] != trial["round"]:
            shown.clear()
        shown.append(trial)
    columns = min(4, max(1, len(axes)))
    rows = max(1, -(-len(axes) // columns))
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, trials) in enumerate(axes.items(), start=1):
        chart = figure.add_subplot(rows, columns, number)
        trials.sort(key=lambda trial: float(trial["value"]))
        at = range(len(trials))
        chart.plot(at, [trial[objective] for trial in trials], "o-", color=_BLUE, markersize=4)
        chosen = float(record["settings"].get(name, float("nan")))
        for place, trial in zip(at, trials, strict=True):
            if trial["value"] == chosen:
                chart.plot([place], [trial[objective]], "o", color=_ORANGE, markersize=8)
        chart.set_xticks(list(at), [f"{trial['value']:g}" for trial in trials], fontsize=7)
        chart.tick_params(axis="y", labelsize=7)
        chart.set_title(_NAMES.get(name, name), fontsize=9)
    figure.suptitle(
        f"{objective} on {record['queries']} {record['chosen_on']} queries, chosen in orange; "
        f"without MTI {record['without_mti'][objective]:.1f}",
        fontsize=9,
    )
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    write_bytes(path, out.getvalue())
