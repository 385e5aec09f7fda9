"""out/demo/report.html: what the demo made and measured, on one page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ctgi.captioning.progress import duration
from demo.curves import line_chart
from demo.page import facts, figure, page, paragraph, picture, section, table
from demo.report_interaction import interaction
from demo.report_pictures import captions_beside, contact_sheet, interview
from demo.report_tables import ablation, chosen_on_val, gains, kinds

_SECTIONS = {
    "table": "Table",
    "gain": "What each part adds",
    "kinds": "Kinds of query",
    "interaction": "Beyond the paper",
    "strips": "Three searches",
    "pictures": "Pictures",
    "interview": "An interview",
    "captions": "Captions",
    "training": "Training",
    "models": "Small models",
    "val": "Chosen on val",
    "cost": "What it took",
}


def write_report(results: Mapping[str, Any], out: Path) -> str:
    """The page. ``results`` is the content of results.json, ``out`` the demo's folder with what it made."""
    parts = [
        _head(results),
        section("table", "The ablation table", *ablation(results)),
        section("gain", "What each part adds", *gains(results)),
        section("kinds", "By kind of query", *kinds(results)),
        section(
            "interaction",
            "The interaction beyond the paper",
            *interaction(results["interaction"], out / "interaction"),
        ),
        section("strips", "Three vague descriptions, before and after MTI", *_strips(results, out)),
        section("pictures", "The rendered people", *contact_sheet(out / "world")),
        section("interview", "A whole interview", *interview(out)),
        section("captions", "Captions beside texts in people's manner", *captions_beside(out)),
        section("training", "Training", *_training(results)),
        section("models", "How well the small models look", *_scores(results)),
        section("val", "What was chosen on val", *chosen_on_val(results)),
        section("cost", "What it took", *_cost(results)),
    ]
    return page("CTGI: the whole loop on rendered people", parts)


def _head(results: Mapping[str, Any]) -> str:
    rows = {(row["variant"], row["mti"]): row for row in results["table"]["rows"]}
    both = rows[results["released"], True]["metrics"]["R@1"]["value"]
    plain = rows[results["released"], False]["metrics"]["R@1"]["value"]
    base = rows["pretrained", False]["metrics"]["R@1"]["value"]
    links = "".join(f'<a href="#{name}">{escape(words)}</a>' for name, words in _SECTIONS.items())
    seconds = sum(stage["seconds"] for stage in results["stages"].values())
    return (
        "<h1>CTGI: the whole loop on rendered people</h1>"
        + paragraph(
            "Pictures are interviewed by a small Qwen2-VL (MTG), the interviews become captions, a small "
            "CLIP learns from them, is exported and indexed, and descriptions find people, without and with "
            "MTI. "
            "Every figure is measured in this run; the models see pixels only."
        )
        + f"<nav>{links}</nav>"
        + facts(
            [
                (f"{base:.1f}", "R@1, pre-trained CLIP"),
                (f"{plain:.1f}", "R@1, with MTG"),
                (f"{both:.1f}", "R@1, with MTG and MTI"),
                (
                    f"{results['small_models']['qwen2vl']['mean']:.1%}",
                    "attribute answers right, unseen people",
                ),
                (f"{results['small_models']['qwen2vl']['judge']['auc']:.3f}", "ROC-AUC of the judge"),
                (duration(seconds), f"all stages, {results['environment']['cores']} cores"),
            ]
        )
    )


def _strips(results: Mapping[str, Any], out: Path) -> list[str]:
    parts = [
        paragraph(
            "The first three short test queries whose search was refined, whatever came of it. Green frames "
            "show the person who was asked for."
        )
    ]
    for number, search in enumerate(results["searches"], start=1):
        with Image.open(out / "searches" / f"search{number}.png") as strip:
            shown = picture(strip, search["query"], png=True)
        lines = [
            [
                escape(pair["question"]),
                escape(pair["answer"]),
                "" if pair["probability"] is None else f"{pair['probability']:.2f}",
                "used" if pair["kept"] else f"left out: {escape(pair['reason'] or '')}",
            ]
            for pair in search["pairs"]
        ]
        words = f"candidates judged: {search['judged']}; {search['calls']} calls, {search['ms']:.0f} ms"
        parts += [
            figure(shown, words),
            table(["Asked of the anchor", "Answer", "p", ""], lines, kinds="llnl"),
        ]
    return parts


def _training(results: Mapping[str, Any]) -> list[str]:
    runs: Mapping[str, Any] = results["training"]
    loss = {name: [sum(e["losses"].values()) for e in run["history"]] for name, run in runs.items()}
    rank = {name: [e["metrics"]["mAP"] for e in run["history"]] for name, run in runs.items()}
    return [
        paragraph(f"SDM loss; the epoch with the best mAP on val is kept. {results['settings_said']}"),
        f'<div class="charts">{line_chart("SDM loss", loss)}{line_chart("mAP on val", rank)}</div>',
    ]


def _scores(results: Mapping[str, Any]) -> list[str]:
    score = results["small_models"]["qwen2vl"]
    judge = score["judge"]
    rows = [
        [escape(name), f"{row['right']:.1%}", f"{row['asked']:.0f}"]
        for name, row in score["attributes"].items()
    ]
    rows.append(["<b>mean</b>", f"<b>{score['mean']:.1%}</b>", ""])
    return [
        paragraph(
            f"The small Qwen2-VL, asked over its server about {score['people']} people rendered for this. "
            f"The judge tells a true description from a stranger's with ROC-AUC {judge['auc']:.3f}, from one "
            f"with one detail changed with {judge['auc_one_detail']:.3f} ({judge['cases']:.0f} cases)."
        ),
        table(["attribute", "right", "asked"], rows, kinds="lnn"),
    ]


def _cost(results: Mapping[str, Any]) -> list[str]:
    stages = [
        [escape(stage["title"]), duration(stage["seconds"]), str(stage["sittings"])]
        for stage in results["stages"].values()
    ]
    said = results["captioning"]
    return [
        table(["Stage", "took", "sittings"], stages, kinds="lnn"),
        paragraph(
            f"Captioning: {said['calls']} calls, {said['prompt_tokens']:,} tokens sent, "
            f"{said['completion_tokens']:,} written, {said['pictures_per_second']:.1f} pictures/s, "
            f"{said['calls_per_second']:.0f} calls/s. Of the answers kept for captions "
            f"{said['right_kept']:.1%} are so, of those left out {said['right_dropped']:.1%}."
        ),
        *(paragraph(line, "note") for line in results["release"]["parity"]),
        "<pre>" + escape("\n".join(results["commands"])) + "</pre>",
    ]
