"""The second half of the loop: choose MTI's settings on val, then measure every row of the table on test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.composer import Composer
from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import default_pool
from ctgi.cli.progress import counter
from ctgi.datasets.annotations import Sample, read_dataset
from ctgi.evaluation.metrics import Evaluation, evaluate
from ctgi.evaluation.protocol import Encoders, Split, effort, embed_split, evaluate_mti, evaluate_plain, top1
from ctgi.interaction.batch import run_queries
from ctgi.interaction.calibration import Calibration, fit_calibration
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.mti import MTI, Index, Pictures, SearchOutcome
from ctgi.interaction.rerank import fuse
from demo.chat_models import ChatModel, Tally
from demo.learn import LAYOUT
from demo.pedestrians.queries import Query
from demo.pedestrians.world import read_world
from demo.settings import Settings


def chosen_queries(world: Path, split: str, count: int) -> list[Query]:
    """``count`` of a split's queries, each kind in its share, drawn by a fixed seed; in the world's order."""
    truth = read_world(world)
    people = {picture.identity for picture in truth.of_split(split)}
    queries = [query for query in truth.queries if query.identity in people]
    kinds = sorted({query.kind for query in queries})
    members = {kind: [n for n, query in enumerate(queries) if query.kind == kind] for kind in kinds}
    exact = {kind: min(1.0, count / len(queries)) * len(members[kind]) for kind in kinds}
    quota = {kind: int(share) for kind, share in exact.items()}
    by_rest = sorted(kinds, key=lambda kind: quota[kind] - exact[kind])
    for kind in by_rest[: min(count, len(queries)) - sum(quota.values())]:
        quota[kind] += 1
    rng = np.random.default_rng([truth.seed, 17])
    drawn = [n for kind in kinds for n in rng.permutation(members[kind])[: quota[kind]]]
    return [queries[n] for n in sorted(drawn)]


def embedded(
    world: Path, split: str, queries: Sequence[Query], encoders: Encoders
) -> tuple[Split, list[str]]:
    """A split with these queries only, embedded, and the kind of each in the split's order."""
    kinds = {(query.identity, query.text.strip()): query.kind for query in queries}
    samples: tuple[Sample, ...] = getattr(read_dataset(world, LAYOUT), split)
    samples = tuple(
        replace(sample, captions=tuple(c for c in sample.captions if (sample.identity, c) in kinds))
        for sample in samples
    )
    made = embed_split(samples, encoders, progress=counter("embed", "pictures"))
    return made, [kinds[int(who), text] for who, text in zip(made.wanted, made.texts, strict=True)]


def open_mti(
    encoders: Encoders,
    index: Index,
    client: Any,
    pictures: Pictures,
    scale: Calibration,
    settings: Settings,
    choice: Mapping[str, float],
) -> MTI:
    """MTI as the demo runs it; ``choice`` holds what was chosen on val."""
    pool = default_pool()
    config = MTIConfig(k=settings.k, xi=settings.xi, lam=choice["lam"], depth=max(20, settings.k))
    return MTI(
        encoders.encode_texts,
        index,
        client,
        pictures,
        pool,
        Composer(pool),
        config,
        scale=scale,
        pair_filter=PairFilter(pool, choice["min_probability"]),
    )


def fitted_scale(world: Path, encoders: Encoders) -> Calibration:
    """The scale on which ξ is read, fitted on all val queries."""
    split, _ = embedded(world, "val", chosen_queries(world, "val", 10**9), encoders)
    return fit_calibration(*top1(split))


def choose_on_val(
    world: Path, encoders: Encoders, scale: Calibration, settings: Settings, chat: ChatModel
) -> dict[str, Any]:
    """λ and the least probability of a used answer: the pair with the highest mAP on val."""
    split, _ = embedded(world, "val", chosen_queries(world, "val", settings.val_queries), encoders)
    tried = []
    for least in settings.min_probabilities:
        choice = {"lam": settings.lambdas[0], "min_probability": least}

        async def searches(choice: Mapping[str, float] = choice) -> list[SearchOutcome]:
            async with chat.client(2 * settings.concurrency) as client:
                loop = open_mti(encoders, split, client, split.picture, scale, settings, choice)
                return await run_queries(loop, split.texts, settings.concurrency, counter("val", "searches"))

        outcomes = asyncio.run(searches())
        for lam in settings.lambdas:
            summary = _refused(split, outcomes, encoders, lam).summary()
            tried.append({"min_probability": least, "lam": lam, "mAP": summary["mAP"], "R@1": summary["R@1"]})
    best = max(tried, key=lambda row: (row["mAP"], row["R@1"], row["lam"]))
    return {
        "lam": best["lam"],
        "min_probability": best["min_probability"],
        "queries": len(split.texts),
        "without_mti": evaluate_plain(split).summary(),
        "tried": tried,
    }


def _refused(split: Split, outcomes: Sequence[SearchOutcome], encoders: Encoders, lam: float) -> Evaluation:
    """The same searches with another λ: who was asked what does not depend on it, only Eq. 7 does."""
    refined = [n for n, outcome in enumerate(outcomes) if outcome.refined_query is not None]
    vectors = split.text_vectors.copy()
    if refined:
        new = encoders.encode_texts([str(outcomes[n].refined_query) for n in refined])
        for row, vector in zip(refined, new, strict=True):
            vectors[row] = fuse(split.text_vectors[row], vector, lam)
    place = {key: position for position, key in reversed(list(enumerate(split.ids)))}
    anchors = [-1 if outcome.anchor is None else place[outcome.anchor] for outcome in outcomes]
    return evaluate(vectors, split.picture_vectors, split.wanted, split.owned, anchors=anchors)


def measure(
    world: Path, encoders: Encoders, settings: Settings, choice: Mapping[str, float], chat: ChatModel
) -> dict[str, Any]:
    """Two rows of the table: these encoders on the test queries, without and with MTI."""
    scale = fitted_scale(world, encoders)
    split, kinds = embedded(world, "test", chosen_queries(world, "test", settings.test_queries), encoders)

    async def searches() -> tuple[Evaluation, list[SearchOutcome], Tally]:
        async with chat.client(2 * settings.concurrency) as client:
            tally = Tally(client)
            loop = open_mti(encoders, split, tally, split.picture, scale, settings, choice)
            done = await evaluate_mti(split, loop, settings.concurrency, counter("MTI", "searches"))
            return *done, tally

    refined, outcomes, tally = asyncio.run(searches())
    plain, took = evaluate_plain(split), effort(outcomes)
    # From the tally: as if nothing had been asked before. Times would say nothing here, beside a cache.
    took["prompt_tokens"] = tally.prompt_tokens / len(outcomes)
    took["completion_tokens"] = tally.completion_tokens / len(outcomes)
    del took["ms"]
    return {
        "kinds": kinds,
        "scale": scale.to_dict(),
        "plain": packed(plain),
        "plain_summary": plain.summary(),
        "mti": packed(refined),
        "effort": took,
        "anchors": _anchors(split, outcomes),
    }


def _anchors(split: Split, outcomes: Sequence[SearchOutcome]) -> dict[str, int]:
    """Whether the anchor is the person who was asked for."""
    owner = dict(zip(split.ids, split.owned.tolist(), strict=True))
    pairs = zip(outcomes, split.wanted.tolist(), strict=True)
    right = [owner[outcome.anchor] == who for outcome, who in pairs if outcome.anchor is not None]
    return {"found": len(right), "right": sum(right)}


def packed(result: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON values."""
    return {
        "queries": result.queries.tolist(),
        "identities": result.identities.tolist(),
        "first_rank": result.first_rank.tolist(),
        "average_precision": result.average_precision.tolist(),
        "inverse_penalty": result.inverse_penalty.tolist(),
        "excluded": result.excluded,
        "gallery": result.gallery,
    }


def unpacked(fields: Mapping[str, Any], only: NDArray[np.bool_] | None = None) -> Evaluation:
    """The reverse of ``packed``; with ``only`` (Q,) of some of its queries."""
    keep = slice(None) if only is None else only
    return Evaluation(
        queries=np.array(fields["queries"], np.int64)[keep],
        identities=np.array(fields["identities"], np.int64)[keep],
        first_rank=np.array(fields["first_rank"], np.int64)[keep],
        average_precision=np.array(fields["average_precision"], np.float64)[keep],
        inverse_penalty=np.array(fields["inverse_penalty"], np.float64)[keep],
        excluded=int(fields["excluded"]),
        gallery=int(fields["gallery"]),
    )
