"""The report's section on the interaction beyond the paper."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ctgi.evaluation.metrics import METRICS
from demo.interaction.methods import KINDS
from demo.interaction.rounds import WAYS
from demo.interaction.tell import calibrated, gains_of_asking
from demo.interaction.work import CURVES, FIGURE, RELIABILITY
from demo.page import figure, paragraph, picture, table
from demo.report_tables import cell

_ROUNDS = (0, 1, 2, 3, 5, 10)


def interaction(results: Mapping[str, Any], out: Path) -> list[str]:
    """Tables, figures, which aims were reached. ``results``: those of the measurement, ``out`` its folder."""
    summary, large, rounds = results["summary"], results["large"], results["rounds"]
    lines = [
        [
            escape(row["title"]),
            *(cell(row["all"]["metrics"][name]) for name in METRICS),
            *(f"{row['cost'][name]:.{digits}f}" for name, digits in (("calls", 1), ("tokens", 0), ("ms", 1))),
        ]
        for row in summary["rows"]
    ]
    kinds = [kind for kind in KINDS if kind in summary["rows"][0]]
    by_kind = [
        [
            escape(row["title"]),
            *(
                f"{row[kind]['metrics']['R@1']['value']:.0f} / {row[kind]['metrics']['R@10']['value']:.0f}"
                for kind in kinds
            ),
        ]
        for row in summary["rows"]
    ]
    asked = [
        [
            escape(title),
            *(f"{way['hits@1'][n]['value']:.0f} / {way['hits'][n]['value']:.0f}" for n in _ROUNDS),
            f"{way['bri']['value']:.2f} [{way['bri']['low']:.2f}, {way['bri']['high']:.2f}]",
        ]
        for name, title in WAYS.items()
        if (way := rounds["ways"][name])
    ]
    aims = "".join(
        f'<li><span class="{"good" if aim["reached"] else "bad"}">'
        f"{'reached' if aim['reached'] else 'not reached'}</span>: {escape(aim['aim'])} "
        f"({escape(aim['found'])})</li>"
        for aim in [*summary["aims"], results["large_aim"]]
    )
    return [
        paragraph(
            f"{results['queries']} test queries, {results['gallery']} pictures; every method's parameters "
            "were chosen on val. Calls and tokens of the language model are means a query as if nothing had "
            "been asked before, ms is what is added to a plain search."
        ),
        table(["", *METRICS, "calls", "tokens", "ms"], lines, kinds="l" + "n" * 8),
        f"<p>What was aimed at:</p><ul>{aims}</ul>",
        _shown(out / FIGURE, "R@1 by kind of query; the right person among ten by questions asked"),
        table(
            ["R@1 / R@10", *(f"{KINDS[kind]} ({summary['rows'][0][kind]['queries']})" for kind in kinds)],
            by_kind,
            kinds="l" + "n" * len(kinds),
        ),
        paragraph(
            f"In a gallery of {large['pictures']:,}: {large['plain_ms']:.0f} ms plain, "
            f"{large['beyond_ms']:.0f} ms more for all together."
        ),
        paragraph(
            "Conversations: the right person first and among ten after so many questions (Hits@1 / Hits@10), "
            "and BRI (less is better). The answerer looks at one picture of the person, which is taken out "
            "of the gallery."
        ),
        table(["Asked", *(f"{n}" for n in _ROUNDS), "BRI"], asked, kinds="l" + "n" * 7),
        paragraph(gains_of_asking(rounds)),
        _shown(out / CURVES, "What was tried on val for all together"),
        paragraph(calibrated(results["calibration"])),
        _shown(out.parent / "dossiers" / RELIABILITY, "What the answers promise and keep, on val"),
    ]


def _shown(path: Path, words: str) -> str:
    with Image.open(path) as drawn:
        return figure(picture(drawn, words, png=True), words)
