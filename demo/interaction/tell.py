"""What was measured, as tables, and what becomes of the aims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ctgi.evaluation.bootstrap import confidence_intervals, paired_difference
from ctgi.evaluation.metrics import METRICS, Evaluation
from demo.interaction.methods import KINDS, METHODS
from demo.measure import unpacked
from demo.table import verdict

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def summarise(measured: Mapping[str, Mapping[str, Any]], kinds: list[str]) -> dict[str, Any]:
    """Figures with intervals for every method, over all queries and by kind, and what each adds to no MTI and
    to MTI as published."""
    rows = []
    for method in METHODS:
        facts = measured[method.name]
        row: dict[str, Any] = {
            "name": method.name,
            "title": method.title,
            "settings": facts["settings"],
            "cost": facts["cost"],
        }
        for kind in ("all", *KINDS):
            found = _of_kind(facts["result"], kinds, kind)
            if found is None:
                continue
            against = {
                other: {name: asdict(item) for name, item in paired_difference(before, found).items()}
                for other in ("none", "paper")
                if (before := _of_kind(measured[other]["result"], kinds, kind)) is not None
            }
            intervals = {name: asdict(item) for name, item in confidence_intervals(found).items()}
            row[kind] = {"queries": len(found.queries), "metrics": intervals, "against": against}
        rows.append(row)
    return {"rows": rows, "aims": list(aims({row["name"]: row for row in rows}))}


def _of_kind(fields: Mapping[str, Any], kinds: list[str], kind: str) -> Evaluation | None:
    mine = np.array(kinds)[np.array(fields["queries"])]
    chosen = np.ones(len(mine), bool) if kind == "all" else mine == kind
    return unpacked(fields, chosen) if chosen.any() else None


def aims(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The aims that were set beforehand, and whether they were reached."""
    best = rows["all"]
    for kind, points, words in (
        ("all", 5.0, "over all queries"),
        ("wrong-detail", 10.0, "wrong in one detail"),
    ):
        if kind in best:
            gain = best[kind]["against"]["paper"]["R@1"]
            yield {
                "aim": f"all together beats MTI as published by {points:g} points of R@1, {words}",
                "found": f"{gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]",
                "reached": gain["value"] >= points,
            }
    lost = {
        KINDS[kind]: best[kind]["against"]["none"]["R@10"]["value"]
        for kind in KINDS
        if kind in best and best[kind]["against"]["none"]["R@10"]["value"] < 0
    }
    yield {
        "aim": "never below no MTI in R@10, on any kind of query",
        "found": ", ".join(f"{kind} {value:+.1f}" for kind, value in lost.items()) or "on none",
        "reached": not lost,
    }
    cost = best["cost"]
    yield {
        "aim": "no picture call a query",
        "found": f"{cost['calls']:.1f} calls",
        "reached": cost["calls"] == 0,
    }


def table(summary: Mapping[str, Any]) -> str:
    """All methods over all queries, in Markdown."""
    heads = ["", *METRICS, "calls", "tokens", "ms"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' --: |' * (len(heads) - 1)}"]
    for row in summary["rows"]:
        cost = row["cost"]
        cells = [_cell(row["all"]["metrics"][name]) for name in METRICS]
        cells += [f"{cost['calls']:.1f}", f"{cost['tokens']:.0f}", f"{cost['ms']:.1f}"]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_by_kind(summary: Mapping[str, Any], metric: str) -> str:
    """One metric of all methods by kind of query, in Markdown."""
    kinds = [kind for kind in KINDS if kind in summary["rows"][0]]
    counts = {kind: summary["rows"][0][kind]["queries"] for kind in kinds}
    heads = [metric, *(f"{KINDS[kind]} ({counts[kind]})" for kind in kinds)]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' --: |' * len(kinds)}"]
    for row in summary["rows"]:
        lines.append(
            f"| {row['title']} | {' | '.join(_cell(row[kind]['metrics'][metric]) for kind in kinds)} |"
        )
    return "\n".join(lines) + "\n"


def table_of_gains(summary: Mapping[str, Any]) -> str:
    """What each method adds to MTI as published, over all queries, paired; in Markdown."""
    names = ("R@1", "R@10", "mAP")
    lines = [f"| Against MTI as published | {' | '.join(names)} |", f"| --- |{' --: |' * len(names)}"]
    for row in summary["rows"]:
        if row["name"] not in ("none", "paper"):
            gains = (row["all"]["against"]["paper"][name] for name in names)
            cells = (f"{g['value']:+.1f} [{g['low']:+.1f}, {g['high']:+.1f}] {verdict(g)}" for g in gains)
            lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_of_rounds(rounds: Mapping[str, Any]) -> str:
    """Hits@10 by round and BRI of the three ways of asking, in Markdown."""
    from demo.interaction.rounds import WAYS

    shown = [n for n in (0, 1, 2, 3, 5, 10) if n <= rounds["rounds"]]
    heads = ["Asked", *(f"Hits@10 after {n}" for n in shown), "BRI"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' --: |' * (len(heads) - 1)}"]
    for way, title in WAYS.items():
        found = rounds["ways"][way]
        cells = [_cell(found["hits"][n]) for n in shown] + [_cell(found["bri"], 2)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gains_of_asking(rounds: Mapping[str, Any]) -> str:
    """What asking by expected information adds to the other ways, paired, as a sentence."""
    from demo.interaction.rounds import WAYS

    def of(item: Mapping[str, float], digits: int) -> str:
        value, low, high = (f"{item[name]:+.{digits}f}" for name in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    said = [
        f"against asking {WAYS[way]}, BRI {of(found['bri'], 2)} and Hits@10 after one question "
        f"{of(found['hits@1'], 1)} points"
        for way, found in rounds["gain_over"].items()
    ]
    return f"What asking by expected information changes on the same queries: {'; '.join(said)}."


def calibrated(facts: Mapping[str, Any]) -> str:
    """What calibration did to the answers' probabilities, as a sentence."""
    return (
        f"The answers' probabilities, calibrated on {facts['answers']:,} answers whose truth val queries "
        f"tell: expected calibration error {facts['ece_before']:.3f} before, {facts['ece']:.3f} after."
    )


def markdown(results: Mapping[str, Any]) -> str:
    """Everything, as it goes into docs/interaction.md."""
    large, rounds, summary = results["large"], results["rounds"], results["summary"]
    reached = [
        f"- {aim['aim']}: {'reached' if aim['reached'] else '**not reached**'} ({aim['found']})."
        for aim in [*summary["aims"], results["large_aim"]]
    ]
    chosen = [
        f"- {row['title']}: " + ", ".join(f"{k} {v:g}" for k, v in row["settings"].items() if k != "judge")
        for row in summary["rows"]
        if row["settings"]
    ]
    return "\n".join(
        [
            f"{results['queries']} queries about {results['people']} unseen rendered people, a gallery of "
            f"{results['gallery']} pictures; percent with 95 % bootstrap intervals by identity. Calls and "
            "tokens are those of the language model a query, as if nothing had been asked before; ms is what "
            "MTI adds to a plain search that is alone on the machine. Parameters were chosen on val, each "
            "row's own. Written by `python -m demo.interaction`.",
            "",
            table(summary),
            "Differences in points on the same queries; one counts where its interval leaves out 0:",
            "",
            table_of_gains(summary),
            "By kind of query:",
            "",
            table_by_kind(summary, "R@1"),
            table_by_kind(summary, "R@10"),
            "What was aimed at:",
            "",
            *reached,
            "",
            f"On {large['pictures']:,} pictures the plain search takes {large['plain_ms']:.0f} ms and "
            f"all together {large['beyond_ms']:.0f} ms more (median of {large['searches']} searches, the "
            "text encoder left out).",
            "",
            f"A conversation of {rounds['rounds']} questions with an answerer who looks at one picture of "
            "the person, which is taken out of the gallery; it could answer "
            f"{rounds['answered']:.0%} of what was asked by expected information. BRI: less is better.",
            "",
            table_of_rounds(rounds),
            gains_of_asking(rounds),
            "",
            calibrated(results["calibration"]),
            "",
            "Chosen on val:",
            "",
            *chosen,
        ]
    )


def filled(document: str, measured: str) -> str:
    """The document with what stands between the marks replaced. Raises ValueError where they are missing."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs the marks {BEGIN} and {END}, once each")
    head, rest = document.split(BEGIN)
    return f"{head}{BEGIN}\n{measured.rstrip()}\n{END}{rest.split(END)[1]}"


def _cell(item: Mapping[str, float], digits: int = 1) -> str:
    value, low, high = (f"{item[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
