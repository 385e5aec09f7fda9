"""The measured cells as a Markdown table and a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ctgi.storage.atomic import write_bytes
from demo.noise.corrupt import KINDS
from demo.noise.grid import MODELS, PRETRAINED, SIGNALS, Cell

Records = Mapping[Cell, Mapping[str, Any]]
TITLES = {"detailed": "Detailed descriptions", "own": "The test split's own queries"}
_COLOURS = ("#9aa3ad", "#d9822b", "#2e8b57", "#9b4dca", "#c2416c", "#1f6feb")


def markdown(records: Records, facts: Mapping[str, Any]) -> str:
    """R@1 of every model, signal and share of wrong captions, by each set of queries; then what the signals
    saw. `facts`: "queries" (name of a set to how many), "gallery", "people", "captions", "select"."""
    trained = _trained(records)
    rates = sorted({cell.rate for cell in trained})
    seeds = sorted({cell.seed for cell in trained})
    lines = [
        f"R@1 on test in percent: {facts['gallery']} pictures of {facts['people']} people. "
        f"{facts['captions']} training captions; half of the wrong ones shuffled between pictures, half with "
        f"wrong details. The epoch is chosen on val by {facts['select']}. " + _spread_note(seeds)
    ]
    for queries, count in facts["queries"].items():
        lines += [
            "",
            f"{TITLES[queries]} ({count}):",
            "",
            "| model | signals | " + " | ".join(f"{rate:.0%} wrong" for rate in rates) + " |",
            "| --- | --- |" + " ---: |" * len(rates),
        ]
        before = _r1([records[PRETRAINED]], queries)
        lines.append(f"| pre-trained CLIP | | {before} |" + " |" * (len(rates) - 1))
        for model in MODELS:
            for signal in SIGNALS:
                row = [_r1(_seeds(trained, model, signal, rate), queries) for rate in rates]
                if any(row):
                    lines.append(
                        f"| {model.upper()} | {signal} | " + " | ".join(x or "-" for x in row) + " |"
                    )
    lines += ["", *_gains(trained, rates, seeds), "", *_seen(trained, rates)]
    return "\n".join(lines).rstrip()


def _trained(records: Records) -> Records:
    return {cell: record for cell, record in records.items() if cell != PRETRAINED}


def _spread_note(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return "One seed; in brackets the 95 % bootstrap interval over people."
    return f"Means of {len(seeds)} seeds; in brackets the lowest and the highest."


def _r1(found: Sequence[Mapping[str, Any]], queries: str) -> str:
    if not found:
        return ""
    items = [record["metrics"][queries]["R@1"] for record in found]
    if len(items) == 1:
        return f"{items[0]['value']:.1f} [{items[0]['low']:.1f}, {items[0]['high']:.1f}]"
    values = [item["value"] for item in items]
    return f"{fmean(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def _gains(records: Records, rates: Sequence[float], seeds: Sequence[int]) -> list[str]:
    """What each signal adds to the cell without one, of the same share and seed; nothing without such."""
    lines = [
        "Detailed descriptions, R@1 less that without a signal at the same share and seed: the mean, and in "
        "how many of the cells it is a gain.",
        "",
        "| model | signals | without wrong captions | with some |",
        "| --- | --- | ---: | ---: |",
    ]
    for model in MODELS:
        for signal in SIGNALS:
            row = []
            for some in ((0.0,), [rate for rate in rates if rate > 0]):
                pairs = [
                    [records.get(Cell(model, name, rate, seed)) for name in (signal, "none")]
                    for rate in some
                    for seed in seeds
                ]
                gains = [
                    ours["metrics"]["detailed"]["R@1"]["value"] - none["metrics"]["detailed"]["R@1"]["value"]
                    for ours, none in pairs
                    if ours and none
                ]
                more = sum(gain > 0 for gain in gains)
                row.append(f"{fmean(gains):+.1f} ({more} of {len(gains)})" if gains else "-")
            if signal != "none" and set(row) != {"-"}:
                lines.append(f"| {model.upper()} | {signal} | {row[0]} | {row[1]} |")
    return lines if len(lines) > 4 else []


def _seen(records: Records, rates: Sequence[float]) -> list[str]:
    """How well each trust tells right captions from wrong ones; nothing where no cell has one."""
    lines = [
        "What the trust saw of each kind of fault: the probability that a right caption is trusted more "
        "than a wrong one (50 %: blind), and how many captions of each kind were left out.",
        "",
        "| model | signals | wrong | shuffled | details | left out: right | shuffled | details |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in MODELS:
        for signal in SIGNALS:
            for rate in rates:
                found = [r["trust"] for r in _seeds(records, model, signal, rate) if r["trust"] is not None]
                if not found:
                    continue
                auc = [_mean([f["auc"].get(kind) for f in found], 100, " %") for kind in KINDS]
                out = [_mean([f["left_out"].get(kind) for f in found], 1, "") for kind in ("right", *KINDS)]
                lines.append(
                    f"| {model.upper()} | {signal} | {rate:.0%} | " + " | ".join([*auc, *out]) + " |"
                )
    return lines if len(lines) > 4 else []


def _mean(values: Sequence[float | None], times: float, unit: str) -> str:
    known = [value for value in values if value is not None]
    return f"{times * fmean(known):.0f}{unit}" if known else "-"


def _seeds(records: Records, model: str, signal: str, rate: float) -> list[Mapping[str, Any]]:
    return [
        record
        for cell, record in records.items()
        if (cell.model, cell.signal, cell.rate) == (model, signal, rate)
    ]


def save_figure(records: Records, path: Path) -> None:
    """R@1 of detailed descriptions against the share of wrong captions: a panel a model, a line a signal, a
    dot a seed, dotted the pre-trained CLIP."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(MODELS), sharey=True)
    trained = _trained(records)
    rates = sorted({cell.rate for cell in trained})
    for panel, model in zip(panels, MODELS, strict=True):
        for colour, signal in zip(_COLOURS, SIGNALS, strict=True):
            points = [
                (100 * rate, record["metrics"]["detailed"]["R@1"]["value"])
                for rate in rates
                for record in _seeds(trained, model, signal, rate)
            ]
            if not points:
                continue
            across = sorted({x for x, _ in points})
            means = [fmean(y for x, y in points if x == at) for at in across]
            panel.plot(
                across, means, "-", color=colour, label=signal, linewidth=2.4 if signal == "joined" else 1.4
            )
            panel.plot(*zip(*points, strict=True), "o", color=colour, markersize=4)
        before = records[PRETRAINED]["metrics"]["detailed"]["R@1"]["value"]
        panel.axhline(before, color="#444444", linestyle=":", linewidth=1.2, label="pre-trained")
        panel.set_title(model.upper())
        panel.set_xlabel("wrong captions, %")
        panel.set_xticks([100 * rate for rate in rates])
    panels[0].set_ylabel("R@1 of detailed descriptions, %")
    panels[0].legend(frameon=False, fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    write_bytes(path, out.getvalue())
