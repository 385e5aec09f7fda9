"""Captions written anew by a Reconstructor, for interviews that are done (Sec. 3.4).

Interviews and captions can so be made by different models at different times: one needs the pictures and a
vision-language model, the other a language model alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ctgi.captioning.reconstructor import Reconstructor
from ctgi.captioning.transcript import Pair, Transcript, write_parquet
from ctgi.errors import CtgiError


async def reconstruct_file(
    captions: Path,
    out: Path,
    reconstructor: Reconstructor,
    *,
    concurrency: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the captions of a pseudo-caption Parquet file anew, to `out`; returns the number of rows.

    What a chat model wrote is paid for once where its client has a reply cache.

    Raises CtgiError for a file that is no pseudo-caption file, and what the reconstructor raises.
    """
    rows = read_transcripts(captions)
    slots = asyncio.Semaphore(concurrency)
    done = 0

    async def one(row: Transcript) -> Transcript:
        nonlocal done
        async with slots:
            caption = await reconstructor.reconstruct(row.static_caption, row.pairs)
        done += 1
        if progress is not None:
            progress(done, len(rows))
        return replace(row, caption=caption, reconstructor=reconstructor.name)

    tasks = [asyncio.create_task(one(row)) for row in rows]
    try:
        written = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return write_parquet(out, written)


def read_transcripts(captions: Path) -> list[Transcript]:
    """The rows of a pseudo-caption Parquet file that `ctgi caption` wrote, all columns, in order.

    Raises CtgiError for a file that is missing or something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(captions).to_pylist()
        return [
            Transcript(pairs=tuple(Pair(**pair) for pair in row.pop("pairs") or ()), **row) for row in rows
        ]
    except (OSError, pa.ArrowException, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CtgiError(f"{captions}: no pseudo-caption file ({reason}); caption again") from error
