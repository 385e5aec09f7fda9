"""Asking by expected information against a fixed order and chance, round by round.

The answerer has seen one picture of the person, and only its pixels: it says what the small Qwen2-VL answered
about that picture, and "cannot tell" where that did. The picture is taken out of the gallery for the query;
the place that counts is that of the best-ranked other picture of the person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.evaluation.interactive import interactive_intervals
from ctgi.evaluation.protocol import Split
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.converse import Conversation
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import read_query
from ctgi.interaction.rehearsal import Picker, at_random, by_gain, in_fixed_order, rehearse

ROUNDS = 10
WAYS = {"gain": "by expected information", "fixed": "in fixed order", "random": "at random"}


def compare_ways(
    split: Split, dossiers: Dossiers, config: MTIConfig, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Hits@10, Recall@10, Hits@1 after each round and BRI of each way, with intervals by identity."""
    rng = np.random.default_rng(17)
    pickers: Mapping[str, Picker] = {"gain": by_gain, "fixed": in_fixed_order, "random": at_random(rng)}
    held = dossiers.of(split.ids)
    queries = range(len(split.texts))
    ranks = {way: np.zeros((ROUNDS + 1, len(queries)), np.int64) for way in pickers}
    told = asked = 0
    for query in queries:
        mine = np.flatnonzero(split.owned == split.wanted[query])
        seen = int(mine[query % len(mine)])
        others = np.delete(np.arange(len(split.ids)), seen)
        answers = [int(table[seen].argmax()) for table in held.probability]

        def answer(facet: int, answers: list[int] = answers) -> int | None:
            last = len(held.facets[facet].values) - 1
            return None if answers[facet] == last else answers[facet]

        talk = Conversation(
            held.take(others),
            split.picture_vectors[others] @ split.text_vectors[query],
            split.texts[query],
            read_query(split.texts[query], held.facets),
            config,
        )
        right = split.owned[others] == split.wanted[query]
        for way, pick in pickers.items():
            stages = rehearse(talk, answer, pick, ROUNDS)
            ranks[way][:, query] = [_first(stage.order, right) for stage in stages]
            if way == "gain":
                asked += len(stages[-1].turns)
                told += sum(bool(turn.says) for turn in stages[-1].turns)
        progress(query + 1, len(queries))
    return {
        "rounds": ROUNDS,
        "queries": len(queries),
        "answered": told / max(1, asked),
        "ways": {way: _figures(ranks[way], split.wanted) for way in pickers},
        "gain_over": {
            way: _difference(ranks[way], ranks["gain"], split.wanted) for way in ("fixed", "random")
        },
    }


def _first(order: NDArray[np.int64], right: NDArray[np.bool_]) -> int:
    """Place, from 1, of the best-ranked right candidate."""
    return 1 + int(right[order].argmax())


def _figures(ranks: NDArray[np.int64], identities: NDArray[np.int64]) -> dict[str, Any]:
    found = interactive_intervals(ranks, identities)
    first = interactive_intervals(ranks, identities, within=1)
    return {"hits": found.hits, "recall": found.recall, "bri": found.bri, "hits@1": first.hits}


def _difference(
    before: NDArray[np.int64], after: NDArray[np.int64], identities: NDArray[np.int64]
) -> dict[str, Any]:
    """What `after` adds, paired: BRI (less is better) and Hits@10 after 1 and 3 rounds, in points."""
    from ctgi.evaluation.bootstrap import mean_intervals
    from ctgi.evaluation.interactive import bri_per_query

    hits = {
        rounds: 100.0
        * ((after[: rounds + 1].min(axis=0) <= 10).astype(float) - (before[: rounds + 1].min(axis=0) <= 10))
        for rounds in (1, 3)
    }
    columns = np.column_stack([bri_per_query(after) - bri_per_query(before), *hits.values()])
    names = ("bri", *(f"hits@{rounds}" for rounds in hits))
    return dict(zip(names, mean_intervals(columns, identities), strict=True))
