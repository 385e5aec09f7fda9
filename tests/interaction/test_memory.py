"""Trying many settings with a memory finds what searches without one find, and asks everything once."""

from __future__ import annotations

import asyncio
import json
from itertools import product

import numpy as np
import pytest

from ctgi.captioning.composer import Composer
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.memory import Memory
from ctgi.interaction.mti import MTI, SearchOutcome
from tests.interaction.small_world import POOL, SHOWN, Model, Shelf, dossiers, encode, people, picture

QUERIES = ("a woman in a red jacket", "someone with a brown handbag and a white cap")
SETTINGS = [
    {"k": k, "lam": lam, "m": m, "temperature": temperature, "questions": questions}
    for k, lam, (m, questions), temperature in product((5, 20), (0.3, 0.8), ((1, 13), (3, 2)), (0.02, 0.2))
]


def outcomes(judge: str, model: Model, memory: Memory | None) -> list[SearchOutcome]:
    some = people(36)
    SHOWN.clear()
    SHOWN.update({name: json.dumps(person) for name, person in some.items()})
    shelf, held = Shelf(some), dossiers(some) if judge == "dossier" else None
    found = []
    for setting in SETTINGS:
        config = MTIConfig(judge=judge, scale="cosine", xi=1.5, depth=20, **setting)  # type: ignore[arg-type]
        mti = MTI(encode, shelf, model, picture, POOL, Composer(), config, dossiers=held, memory=memory)
        found += [asyncio.run(mti.search(query)) for query in QUERIES]
    return found


@pytest.mark.parametrize("judge", ["hard", "soft", "dossier"])
def test_with_a_memory_every_setting_finds_the_same(judge: str) -> None:
    alone, together = Model(), Model()
    apart, remembered = outcomes(judge, alone, None), outcomes(judge, together, Memory())
    for one, other in zip(apart, remembered, strict=True):
        assert one.ranking == other.ranking and one.stop_reason == other.stop_reason
        assert [a.pairs for a in one.anchors] == [a.pairs for a in other.anchors]
        assert one.refined_query == other.refined_query and np.array_equal(one.vector, other.vector)
    if judge == "dossier":
        assert not alone.calls and not together.calls
    else:
        assert together.calls["judge"] <= 20 * len(QUERIES) < alone.calls["judge"]
        assert 0 < together.calls["answer"] < alone.calls["answer"]


def test_a_failure_is_not_remembered() -> None:
    memory, tries = Memory(), []

    async def make() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not now")
        return 7

    async def work() -> list[int]:
        with pytest.raises(ValueError, match="not now"):
            await memory.awaited("key", make)
        return [await memory.awaited("key", make), await memory.awaited("key", make)]

    assert asyncio.run(work()) == [7, 7] and len(tries) == 2
