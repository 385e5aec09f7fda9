"""Many queries at once, for evaluation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ctgi.interaction.mti import MTI, SearchOutcome

Progress = Callable[[int, int], None]


async def run_queries(
    mti: MTI, queries: Sequence[str], concurrency: int = 8, progress: Progress | None = None
) -> list[SearchOutcome]:
    """One outcome a query, in their order; at most `concurrency` searches are under way.

    The queries are embedded in one batch. `progress` is called with (finished, all) after each. A deadline in
    the configuration is each search's own; with many under way they share the server, so give it room.
    """
    if not queries:
        return []
    vectors = await asyncio.to_thread(mti.encode, list(queries))
    slots = asyncio.Semaphore(concurrency)
    finished = 0

    async def one(number: int) -> SearchOutcome:
        nonlocal finished
        async with slots:
            outcome = await mti.search(queries[number], vectors[number])
        finished += 1
        if progress is not None:
            progress(finished, len(queries))
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(len(queries))]
    return [task.result() for task in tasks]
