"""Turn the interviews of one shard into captions (Sec. 3.4)."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from kfp import dsl

from components.asking import RECONSTRUCTOR_KEY, asking
from components.workspace import Workspace

SPENT = ("calls", "cached", "prompt_tokens", "completion_tokens")


def reconstruct_shard(
    shard: str,
    interviews: dsl.Input[dsl.Dataset],
    work: str,
    captions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    server: str = "",
    model: str = "gpt-4o",
    concurrency: int = 8,
):
    """Turn the interviews of one shard into captions: by a language model, or by rules.

    Args:
        shard: its name, for messages.
        interviews: what `caption_shard` wrote; its captions are those of the rules.
        work: the workspace; replies are kept there.
        captions: the same rows with the captions of the language model.
        metrics: rows, calls, tokens.
        server: an OpenAI-compatible server; without it the rules' captions stay.
        model: the language model on it.
        concurrency: requests at the same time.
    """
    from components.reconstruct_shard import reconstruct, remember
    from components.step import measured, step

    with step("reconstruct_shard", shard):
        told = reconstruct(shard, interviews.path, work, captions.path, server, model, concurrency)
        measured(metrics, told)
        remember(captions, interviews, bool(server))


def reconstruct(
    shard: str, interviews: str, work: str, captions: str, server: str, model: str, concurrency: int
) -> dict[str, float]:
    Path(captions).parent.mkdir(parents=True, exist_ok=True)
    if not server:
        shutil.copyfile(interviews, captions)
        return {"calls": 0.0}
    from ctgi.captioning.reconstruct_file import reconstruct_file
    from ctgi.captioning.reconstructor import ChatReconstructor
    from ctgi.cli.progress import counter

    with Workspace(work).folder(f"reconstruct/{shard}") as place:

        async def work_on() -> dict[str, float]:
            async with asking(place, server, model, concurrency, key=RECONSTRUCTOR_KEY) as client:
                rows = await reconstruct_file(
                    Path(interviews), Path(captions), ChatReconstructor(client),
                    concurrency=concurrency, progress=counter("reconstruct", "captions"),
                )  # fmt: skip
                total = client.ledger.total()
                spent = {name: float(getattr(total, name)) for name in SPENT}
                return {"rows": float(rows), **spent}

        return asyncio.run(work_on())


def remember(captions: Any, interviews: Any, anew: bool) -> None:
    """Lineage: which language model wrote them, from which interviews; the rules' are as they were."""
    from components.records import keep, pass_on, recorded
    from ctgi.cli.records import captions_record

    if not anew:
        pass_on(interviews, captions)
        return
    with recorded(interviews) as file:
        keep(captions, captions_record(Path(captions.path), {}, {"interviews": file}))


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(reconstruct_shard))
