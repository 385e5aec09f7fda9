"""out/demo/results.json: everything that was measured, gathered from the stages' records."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ctgi import __version__
from ctgi.cli.figures import plain
from demo.settings import Settings
from demo.stages import Record
from demo.table import RELEASED, VARIANTS, by_kind, differences, table_rows

TITLES = {
    "world": "render the people",
    "score": "score the small models on unseen people",
    "captions": "interview the training pictures (MTG)",
    "train-ts77": "fine-tune on T_s, 77 positions",
    "train-te77": "fine-tune on T_e, 77 positions",
    "train-ts248": "fine-tune on T_s, 248 positions (PES)",
    "train-te248": "fine-tune on T_e, 248 positions (PES)",
    "export": "export the release and check it",
    "choose": "choose MTI's settings on val",
    "index": "index the test pictures",
    **{f"measure-{variant.name}": f"measure: {variant.trained_on}" for variant in VARIANTS},
    "searches": "answer three vague descriptions",
    "dossiers": "ask the val and test pictures for their dossiers",
    "tune": "choose every interaction's parameters on val",
    "interaction": "measure every interaction on test",
}
for _variant in VARIANTS[1:]:
    TITLES[f"measure-{_variant.name}"] += f", {248 if _variant.pes else 77} positions"


def gather(
    records: Mapping[str, Record],
    settings: Settings,
    options: Mapping[str, Any],
    commands: Sequence[str],
    interaction: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of results.json; ``interaction`` is that of its own."""
    measured = {variant.name: records[f"measure-{variant.name}"].result for variant in VARIANTS}
    captions, searches = dict(records["captions"].result), records["searches"].result
    answers = captions.pop("answers")
    for which in ("kept", "dropped"):
        captions[f"right_{which}"] = answers[f"{which}_right"] / max(1, answers[which])
    released = records[f"train-{RELEASED}"].result
    choice = records["choose"].result
    stages = {
        name: {"title": TITLES[name], "seconds": record.seconds, "sittings": record.sittings}
        for name, record in records.items()
    }
    results = {
        "version": __version__,
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count() or 1,
            "threads": options["threads"],
        },
        "settings": settings,
        "settings_said": _said(settings),
        "models": {name: str(options[name]) for name in ("qwen2vl", "clip")},
        "released": RELEASED,
        "stages": stages,
        "world": records["world"].result,
        "captioning": captions,
        "training": {
            _name(name): record.result for name, record in records.items() if name.startswith("train-")
        },
        "release": records["export"].result,
        "mti": choice,
        "index": records["index"].result,
        "table": {
            "level": 0.95,
            "unit": "percent",
            "gallery": measured[RELEASED]["plain"]["gallery"],
            "rows": table_rows(measured),
        },
        "differences": differences(measured),
        "by_kind": by_kind(measured),
        "scales": {name: facts["scale"] for name, facts in measured.items()},
        "searches": searches["searches"],
        "alone": searches["alone"],
        "small_models": {
            "qwen2vl": records["score"].result,
            "clip": {
                "pretrained": measured["pretrained"]["plain_summary"],
                "fine-tuned, best val": released["metrics"],
            },
        },
        "interaction": interaction,
        "commands": list(commands),
    }
    return dict(plain(results))


def _name(stage: str) -> str:
    """A training run for people."""
    text, positions = stage.removeprefix("train-")[:2], stage.removeprefix("train-")[2:]
    return f"T_{text[1]}, {positions} positions"


def _said(settings: Settings) -> str:
    return (
        f"{settings.epochs} epochs, batches of {settings.batch_size}, base rate {settings.base_lr:g}, "
        "warm-up and cosine by step."
    )
