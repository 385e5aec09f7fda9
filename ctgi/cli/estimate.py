"""What measuring MTI would cost, before a single call is made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Rules of thumb for English: characters in a token, tokens of a query, of an answer, of a refined query.
CHARACTERS, QUERY, ANSWER, REFINED = 4.0, 30, 14, 90
TEMPLATE = 12  # tokens of the chat template around system and user


def print_mti_estimate(options: argparse.Namespace, queries: int, pictures: Sequence[Path]) -> dict[str, Any]:
    """Print calls, tokens and cost of MTI over so many queries, at the most; return them as figures.

    At the most: every query judges K candidates, finds an anchor and asks all questions. What a reply cache
    holds already is not taken off.
    """
    from ctgi.captioning.estimate import Prices, picture_tokens
    from ctgi.captioning.pool import default_pool
    from ctgi.cli import mti
    from ctgi.mllm.prompt import Prompt

    config = mti.settings(options, 20)
    pool = default_pool()
    asked = min(config.rounds * config.questions, len(pool))
    calls = {"judge": queries * config.k, "answer": queries * asked}
    if options.reconstructor_server is not None:
        calls["rewrite"] = queries
    picture = _mean(pictures, picture_tokens)
    system = len(Prompt.load("system").text) / CHARACTERS + TEMPLATE
    judge = system + picture + len(Prompt.load("judge").text) / CHARACTERS + QUERY
    answer = system + picture + sum(len(q.question) for q in pool) / len(pool) / CHARACTERS + 8
    rewrite = len(Prompt.load("rewrite").text) / CHARACTERS + QUERY + asked * 2 * ANSWER
    sent = calls["judge"] * judge + calls["answer"] * answer + calls.get("rewrite", 0) * rewrite
    written = calls["judge"] * 1 + calls["answer"] * ANSWER + calls.get("rewrite", 0) * REFINED
    parts = ", ".join(f"{count:,} {purpose}" for purpose, count in calls.items())
    print(f"{queries} queries; calls, at most: {sum(calls.values()):,} ({parts})")
    print(f"tokens, at most and by rule of thumb: {sent:,.0f} sent, {written:,.0f} written")
    cost = None
    if options.price_prompt is not None or options.price_completion is not None:
        cost = Prices(options.price_prompt or 0.0, options.price_completion or 0.0).cost(sent, written)
    print("cost: " + ("no prices were given" if cost is None else f"at most about {cost:,.2f}"))
    return {
        "dry_run": True,
        "queries": queries,
        "calls": calls,
        "prompt_tokens": round(sent),
        "completion_tokens": round(written),
        "cost": cost,
    }


def _mean(pictures: Sequence[Path], tokens: Any) -> float:
    """Mean tokens of a sample of the pictures, read from their headers."""
    from PIL import Image

    sizes = []
    for path in pictures[:: max(1, len(pictures) // 64)]:
        try:
            with Image.open(path) as image:
                sizes.append(tokens(*image.size))
        except OSError:
            continue
    return sum(sizes) / len(sizes) if sizes else 70.0  # 384x128
