"""The parts of the report that are tables of what was measured, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ctgi.evaluation.metrics import METRICS
from demo.page import paragraph, table


def cell(item: Mapping[str, float]) -> str:
    """A figure and its interval."""
    return f"{item['value']:.1f} <small>[{item['low']:.1f}, {item['high']:.1f}]</small>"


def ablation(results: Mapping[str, Any]) -> list[str]:
    """The table in the shape of the paper's Table 4."""
    found = results["table"]["rows"]
    lines = []
    for row in found:
        effort = row.get("effort")
        lines.append(
            [
                escape(row["trained_on"]),
                *("✓" if row[name] else "" for name in ("mtg", "mti", "pes")),
                *(cell(row["metrics"][name]) for name in METRICS),
                f"{effort['calls']:.1f}" if effort else "",
                f"{effort['prompt_tokens'] + effort['completion_tokens']:.0f}" if effort else "",
            ]
        )
    strong = [n for n, row in enumerate(found) if row["variant"] == results["released"]]
    heads = ["Trained on", "MTG", "MTI", "PES", *METRICS, "calls", "tokens"]
    alone = results["alone"]
    return [
        paragraph(
            f"{found[0]['queries']} test queries against {results['table']['gallery']} test pictures of "
            "people whom no model has seen; the same queries in every row. 95 % bootstrap intervals by "
            "identity. Without PES texts are cut to 77 tokens. Calls and tokens are means per query, as if "
            "nothing had been asked before. The shaded rows are those of the release."
        ),
        table(heads, lines, kinds="lccc" + "n" * (len(METRICS) + 2), strong=strong),
        paragraph(
            f"A search alone, on this machine: {alone['ms_plain']:.0f} ms plain, "
            f"{alone['ms']['total']:.0f} ms with MTI ({alone['calls']:.1f} calls; mean of "
            f"{alone['searches']}, one after another, nothing cached).",
            "note",
        ),
        paragraph(
            "The paper's Table 4 leaves unstated what its row without MTG was trained on. Here there are two "
            "such models: CLIP as it was pre-trained, and CLIP fine-tuned on the first description of every "
            "picture, which costs one call instead of an interview.",
            "note",
        ),
    ]


def gains(results: Mapping[str, Any]) -> list[str]:
    """Paired differences, and what did not improve."""
    names = ("R@1", "R@10", "mAP")
    colours = {"better": "good", "worse": "bad"}
    lines = []
    for row in results["differences"]:
        cells = [
            f"{row['metrics'][n]['value']:+.1f} <small>[{row['metrics'][n]['low']:+.1f}, "
            f"{row['metrics'][n]['high']:+.1f}]</small> "
            f'<span class="{colours.get(row["verdict"][n], "")}">{row["verdict"][n]}</span>'
            for n in names
        ]
        lines.append([escape(row["what"]), *cells])
    bad = [
        f"<li>{escape(row['what'])}: {escape(', '.join(said))}</li>"
        for row in results["differences"]
        if (said := [f"{n} {row['verdict'][n]}" for n in ("R@1", "mAP") if row["verdict"][n] != "better"])
    ]
    rest = "<p>Not improved:</p><ul>" + "".join(bad) + "</ul>" if bad else ""
    return [
        paragraph(
            "Differences in points on the same queries, with 95 % intervals of the paired bootstrap. A "
            "difference is called better or worse only where its interval leaves out 0."
        ),
        table(["Comparison", *names], lines, kinds="lnnn"),
        rest or paragraph("Every comparison is an improvement in R@1 and mAP."),
        *_anchors(results),
    ]


def _anchors(results: Mapping[str, Any]) -> list[str]:
    """Where MTI ended, and how often it put the right person first: what its gain rests on."""
    lines = []
    for row in results["table"]["rows"]:
        if row["mti"]:
            anchors, effort = row["anchors"], row["effort"]
            share = f"{anchors['right'] / anchors['found']:.0%}" if anchors["found"] else ""
            stopped = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in effort["stopped"].items())
            model = escape(row["trained_on"]) + (", PES" if row["pes"] else "")
            cells = [model, str(anchors["found"]), share, f"{effort['judged']:.1f}", escape(stopped)]
            lines.append(cells)
    return [
        paragraph(
            "With MTI the anchor is first whoever it is, so R@1 rests on how often it is the right person; "
            "when it is not, the refined query asks for somebody else."
        ),
        table(["Model", "anchors", "right", "judged", "searches ended"], lines, kinds="lnnnl"),
    ]


def kinds(results: Mapping[str, Any]) -> list[str]:
    """Every row for each kind of query."""
    rows = results["by_kind"]
    kinds = {row["kind"]: row["queries"] for row in rows}
    names = {row["variant"]: row for row in results["table"]["rows"]}
    lines = []
    for variant, fields in names.items():
        for mti in (False, True):
            line = [
                escape(fields["trained_on"]),
                *("✓" if on else "" for on in (fields["mtg"], mti, fields["pes"])),
            ]
            for kind in kinds:
                row = next(r for r in rows if (r["variant"], r["mti"], r["kind"]) == (variant, mti, kind))
                line.append(f"{row['metrics']['R@1']['value']:.0f} / {row['metrics']['mAP']['value']:.0f}")
            lines.append(line)
    heads = ["Trained on", "MTG", "MTI", "PES", *(f"{kind} ({count})" for kind, count in kinds.items())]
    return [
        paragraph(
            "R@1 / mAP; the number of queries in brackets. Intervals are in results.json: they are wide."
        ),
        table(heads, lines, kinds="lccc" + "n" * len(kinds)),
    ]


def chosen_on_val(results: Mapping[str, Any]) -> list[str]:
    """The grid that was tried on val."""
    val = results["mti"]
    tried: Sequence[Mapping[str, float]] = val["tried"]
    leasts = sorted({row["min_probability"] for row in tried})
    lines = []
    for lam in sorted({row["lam"] for row in tried}):
        found = {row["min_probability"]: row["mAP"] for row in tried if row["lam"] == lam}
        chosen = val["lam"] == lam
        lines.append(
            [
                f"{lam:g}",
                *(
                    f"<b>{found[p]:.1f}</b>" if chosen and p == val["min_probability"] else f"{found[p]:.1f}"
                    for p in leasts
                ),
            ]
        )
    scale = val["calibration"]
    return [
        paragraph(
            f"mAP on {val['queries']} val queries by λ (Eq. 7) and the least probability of a used answer; "
            f"without MTI {val['without_mti']['mAP']:.1f}. Chosen with the released model, for all rows."
        ),
        table(["λ", *(f"p ≥ {p:g}" for p in leasts)], lines, kinds="n" * (1 + len(leasts))),
        paragraph(
            f"ξ = {results['settings']['xi']} is read on the probability that the top candidate is right, "
            f"fitted on {scale['queries']} val queries: "
            f"1 / (1 + exp(-({scale['slope']:.1f} cosine {scale['intercept']:+.1f}))).",
            "note",
        ),
    ]
