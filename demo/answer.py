"""Searches as a user makes them: one at a time, through the gallery and the release, nothing asked before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctgi.evaluation.figures import Shown, Strip, draw_strip, save_png, stack
from ctgi.export.runtime import OnnxEncoders
from ctgi.gallery.index import Gallery
from ctgi.interaction.calibration import Calibration
from ctgi.interaction.mti import MTI, SearchOutcome, StopReason
from ctgi.mllm.ledger import Ledger
from demo.chat_models import ChatModel
from demo.measure import chosen_queries, open_mti
from demo.pedestrians.queries import Query
from demo.pedestrians.world import read_world
from demo.settings import Settings

FIGURE = "figure3.png"
SHOWN = 3


def answer(
    place: Path, world: Path, release: Path, gallery: Path, settings: Settings, chat: ChatModel, threads: int
) -> dict[str, Any]:
    """Three vague queries, drawn before and after MTI, and what a search costs when it is alone.

    The three are the first short ones among the evaluated queries whose search was refined, whatever came of
    it; where there are fewer, the first short ones.
    """
    encoders = OnnxEncoders(release, threads=threads)
    held = Gallery.open(gallery, encoders.fingerprint)
    facts = encoders.release.mti
    scale = Calibration.of(facts["calibration"])
    queries = chosen_queries(world, "test", settings.test_queries)
    spread = [queries[n * len(queries) // settings.alone] for n in range(min(settings.alone, len(queries)))]
    vague = sorted(queries, key=lambda query: query.kind != "short")

    def picture(key: str) -> bytes:
        return (world / "imgs" / str(held.payloads([key])[0]["path"])).read_bytes()

    async def searches() -> tuple[list[SearchOutcome], list[tuple[Query, SearchOutcome]]]:
        async with chat.client(settings.concurrency, kept=False) as client:
            client.ledger = Ledger()  # of these searches alone
            loop = open_mti(encoders, held, client, picture, scale, settings, facts)
            await loop.search("a person")  # wakes up both sides; not counted
            alone = [await loop.search(query.text) for query in spread]
            return alone, await _first_refined(loop, vague)

    start = time.monotonic()
    alone, shown = asyncio.run(searches())
    owner = {picture.path: picture.identity for picture in read_world(world).pictures}
    described = [_described(query, outcome, held, owner, world) for query, outcome in shown]
    strips = [_strip(entry) for entry in described]
    for number, strip in enumerate(strips, start=1):
        save_png(draw_strip(strip), place / f"search{number}.png")
    save_png(stack([draw_strip(strip) for strip in strips]), place / FIGURE)
    return {
        "searches": [{k: v for k, v in entry.items() if k != "shown"} for entry in described],
        "alone": _costs(alone),
        "seconds": time.monotonic() - start,
    }


async def _first_refined(loop: MTI, queries: Sequence[Query]) -> list[tuple[Query, SearchOutcome]]:
    done = []
    for query in queries[:12]:
        done.append((query, await loop.search(query.text)))
        refined = [pair for pair in done if pair[1].stop_reason is StopReason.REFINED]
        if len(refined) == SHOWN:
            return refined
    return sorted(done, key=lambda pair: pair[1].stop_reason is not StopReason.REFINED)[:SHOWN]


def _costs(outcomes: Sequence[SearchOutcome]) -> dict[str, Any]:
    """Means a search; milliseconds by stage, of which encode and search are those of a plain search."""
    count = len(outcomes)
    stages = sorted({stage for outcome in outcomes for stage in outcome.seconds})
    ms = {
        stage: 1000 * sum(outcome.seconds.get(stage, 0.0) for outcome in outcomes) / count for stage in stages
    }
    totals = [1000 * outcome.seconds["total"] for outcome in outcomes]
    return {
        "searches": count,
        "calls": sum(outcome.calls for outcome in outcomes) / count,
        "prompt_tokens": sum(outcome.prompt_tokens for outcome in outcomes) / count,
        "completion_tokens": sum(outcome.completion_tokens for outcome in outcomes) / count,
        "ms": ms,
        "ms_plain": ms.get("encode", 0.0) + ms.get("search", 0.0),
        "ms_mti_median": float(np.median(totals)),
    }


def _described(
    query: Query, outcome: SearchOutcome, gallery: Gallery, owner: Mapping[str, int], world: Path
) -> dict[str, Any]:
    def ranked(
        ids: Sequence[str], scores: Sequence[float], anchor: str | None = None
    ) -> list[dict[str, Any]]:
        rows = []
        for key, score in list(zip(ids, scores, strict=True))[:10]:
            path = gallery.payloads([key])[0]["path"]
            rows.append(
                {
                    "path": path,
                    "score": score,
                    "right": owner[path] == query.identity,
                    "anchor": key == anchor,
                }
            )
        return rows

    asked_for = next(path for path, identity in owner.items() if identity == query.identity)
    return {
        "query": query.text,
        "kind": query.kind,
        "refined_query": outcome.refined_query,
        "stopped": str(outcome.stop_reason),
        "judged": len(outcome.judged),
        "pairs": outcome.pairs,
        "before": ranked(outcome.plain.ids, outcome.plain.scores),
        "after": ranked(outcome.ranking.ids, outcome.ranking.scores, outcome.anchor),
        "asked_for": asked_for,
        "calls": outcome.calls,
        "tokens": outcome.prompt_tokens + outcome.completion_tokens,
        "ms": 1000 * outcome.seconds["total"],
        "shown": world / "imgs",
    }


def _strip(entry: Mapping[str, Any]) -> Strip:
    folder: Path = entry["shown"]

    def row(ranked: Sequence[Mapping[str, Any]]) -> list[Shown]:
        return [Shown(folder / hit["path"], hit["right"], hit["score"], hit["anchor"]) for hit in ranked]

    return Strip(
        entry["query"],
        row(entry["before"]),
        row(entry["after"]),
        refined=entry["refined_query"],
        asked_for=folder / entry["asked_for"],
        note=f"{entry['stopped'].replace('_', ' ')}: {entry['judged']} judged, {entry['calls']} calls",
    )
