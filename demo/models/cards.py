"""The figures in the model cards: written from ``weights/scores.json``, never by hand.

``python -m demo.models.cards`` writes them anew. What stands between the two marks of a card is replaced; the
prose around them is not touched.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demo.models.launch import WEIGHTS

SCORES = "scores.json"
BEGIN, END = "<!-- figures: begin (written by demo.models.cards) -->", "<!-- figures: end -->"


def write_cards(weights: Path = WEIGHTS) -> None:
    """Put the figures of ``weights/scores.json`` into ``weights/{qwen2vl,clip}/README.md``.

    Raises ValueError naming the file when scores or marks are missing.
    """
    path = weights / SCORES
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; python -m demo.models.train writes it") from None
    for name, figures in FIGURES.items():
        card = weights / name / "README.md"
        text = figures(scores, weights / name / "model.safetensors")
        card.write_text(filled(card.read_text(encoding="utf-8"), text, card), encoding="utf-8")


def filled(card: str, figures: str, path: Path) -> str:
    """``card`` with ``figures`` between its marks."""
    if card.count(BEGIN) != 1 or card.count(END) != 1 or card.index(BEGIN) > card.index(END):
        raise ValueError(f"{path}: needs the lines {BEGIN!r} and {END!r} once, in this order")
    return card[: card.index(BEGIN)] + f"{BEGIN}\n{figures}\n" + card[card.index(END) :]


def parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds, from its header: 8 bytes of its length, then JSON."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _size(weights: Path) -> str:
    return f"{parameters(weights):,} weights in {weights.stat().st_size / 1e6:.1f} MB"


def qwen2vl_figures(scores: Mapping[str, Any], weights: Path) -> str:
    """Size, training, answers by attribute and the judge, as Markdown."""
    recipe, result, vision = scores["recipe"], scores["qwen2vl"], scores["vision"]
    judge = result["judge"]
    lines = [
        f"{_size(weights)}, float16. Vision tower: {recipe['vision_steps']:,} steps of "
        f"{recipe['vision_batch']} pictures out of {recipe['pictures']:,}, after which its attribute heads "
        f"were right in {vision['mean']:.1%} on held-out people. Language side: "
        f"{recipe['language_steps']:,} steps of {recipe['language_batch']} lessons.",
        "",
        f"Measured on {result['people']} people that no training picture shows, one picture each, through "
        "the server and the chat protocol:",
        "",
        "| attribute | right | asked |",
        "| --- | ---: | ---: |",
    ]
    lines += [
        f"| {name.replace('_', ' ')} | {row['right']:.1%} | {row['asked']:.0f} |"
        for name, row in result["attributes"].items()
    ]
    lines += [
        f"| **mean over attributes** | **{result['mean']:.1%}** | |",
        "",
        f"| judge ({judge['cases']:.0f} cases) | |",
        "| --- | ---: |",
        f"| ROC-AUC, true descriptions against a stranger's | {judge['auc']:.4f} |",
        f"| ROC-AUC, true descriptions against one detail changed | {judge['auc_one_detail']:.4f} |",
        f"| says yes to a true description | {judge['yes_when_true']:.1%} |",
        f"| says yes to a stranger's | {judge['yes_when_stranger']:.1%} |",
        f"| says yes when one detail differs | {judge['yes_when_one_detail_differs']:.1%} |",
    ]
    return "\n".join(lines)


def clip_figures(scores: Mapping[str, Any], weights: Path) -> str:
    """Size, training and recall of plain captions, as Markdown."""
    recipe, last = scores["recipe"], scores["clip"]
    return "\n".join(
        [
            f"{_size(weights)}, float16. {recipe['clip_steps']:,} steps of {recipe['clip_batch']} pairs "
            f"out of {recipe.get('clip_pictures', recipe['pictures']):,} pictures.",
            "",
            "Plain captions, which name one or two things, against one picture each of 500 held-out people "
            "(many captions fit several of them):",
            "",
            "| R@1 | R@10 |",
            "| ---: | ---: |",
            f"| {last['R@1']:.1%} | {last['R@10']:.1%} |",
        ]
    )


FIGURES: dict[str, Callable[[Mapping[str, Any], Path], str]] = {
    "qwen2vl": qwen2vl_figures,
    "clip": clip_figures,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.models.cards", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    try:
        write_cards(parser.parse_args(arguments).weights)
    except (ValueError, KeyError) as error:
        print(f"demo.models.cards: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
