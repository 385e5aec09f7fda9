"""Interview the pictures of one shard (MTG)."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import dsl

from components import page, shards
from components.asking import asking
from components.workspace import Workspace
from ctgi.errors import CtgiError


def caption_shard(
    shard: str,
    digest: str,
    pictures: str,
    work: str,
    server: str,
    model: str,
    captions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    layout: str = "",
    rounds: int = 6,
    min_probability: float = 0.1,
    concurrency: int = 8,
):
    """Interview the pictures of one shard; what was answered before is not asked again.

    Args:
        shard: its name, for messages.
        digest: of its list in the workspace.
        pictures: folder of the pictures or the data set.
        work: the workspace.
        server: an OpenAI-compatible server.
        model: the vision-language model on it.
        captions: pseudo-captions, one row a picture.
        metrics: pictures, calls, tokens, pictures a second.
        report: pictures that were skipped, and why.
        layout: annotation layout of a data set.
        rounds: questions a picture.
        min_probability: answers that the model itself gives less are uncertain.
        concurrency: requests at the same time.
    """
    from components.caption_shard import interview, remember
    from components.step import measured, step

    with step("caption_shard", shard):
        told = interview(
            shard, digest, pictures, work, server, model, captions.path, report.path,
            layout, rounds, min_probability, concurrency,
        )  # fmt: skip
        measured(metrics, told)
        remember(captions, told)


def interview(
    shard: str,
    digest: str,
    folder: str,
    work: str,
    server: str,
    model: str,
    captions: str,
    report: str,
    layout: str,
    rounds: int,
    min_probability: float,
    concurrency: int,
) -> dict[str, float]:
    from ctgi.captioning.composer import Composer
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.pool import default_pool
    from ctgi.captioning.run import recipe
    from ctgi.captioning.summary import INTERVIEWS, PARQUET, REPORT

    workspace = Workspace(work)
    wanted = shards.read_list(digest, workspace)
    pool = default_pool()
    least = PairFilter(pool, min_probability)
    made_by = recipe(model, pool, rounds, least, Composer(pool))
    home = f"captions/{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"
    with contextlib.ExitStack() as stack:
        # Records are shared by all shards, so that a picture that moves to another shard keeps its own.
        names = [f"{picture.id}.json" for picture in wanted]
        records = stack.enter_context(workspace.folder(f"{home}/records", names, shared=True))
        place = stack.enter_context(workspace.folder(f"{home}/shards/{shard}"))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (place / INTERVIEWS).is_symlink():
            (place / INTERVIEWS).symlink_to(os.path.relpath(records, place))
        root = shards.bring(wanted, folder, layout, scratch)
        told = _caption(wanted, root, place, server, model, pool, least, rounds, concurrency)
        lines = (place / REPORT).read_text(encoding="utf-8").splitlines()
        if told["unanswered"]:
            # A step that succeeds is cached, and these pictures would never be asked again.
            print(*lines, sep="\n", file=sys.stderr, flush=True)
            raise CtgiError(
                f"{server} gave no answer about {told['unanswered']:.0f} of {len(wanted)} pictures, named "
                "above; the next try asks about these alone"
            )
        Path(captions).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / PARQUET, captions)
    title = f"shard {shard}: {told['rows']:.0f} captions, {told['skipped']:.0f} pictures skipped\n\n"
    page.write(report, title + "".join(f"- {page.plain_text(line)}\n" for line in lines))
    return told


def _caption(
    wanted: list[shards.Picture],
    root: Path,
    place: Path,
    server: str,
    model: str,
    pool: Any,
    least: Any,
    rounds: int,
    concurrency: int,
) -> dict[str, float]:
    from ctgi.captioning.composer import Composer
    from ctgi.captioning.progress import ProgressLine
    from ctgi.captioning.run import PictureItem, caption_pictures
    from ctgi.captioning.summary import PARQUET
    from ctgi.captioning.transcript import write_parquet

    items = [PictureItem(root / picture.path, picture.identity) for picture in wanted]

    async def work() -> Any:
        async with asking(place, server, model, concurrency) as client:
            return await caption_pictures(
                items, place, client, pool, Composer(pool), rounds=rounds, root=root,
                pair_filter=least, progress=ProgressLine(sys.stderr),
            )  # fmt: skip

    if not items:
        raise CtgiError("the shard's list is empty; run the pipeline again")
    try:
        summary = asyncio.run(work())
    except CtgiError:
        if any(_is_picture(item.path) for item in items):
            raise
        # Every file of the shard is broken, and the report says so: that is no reason to stop the others.
        write_parquet(place / PARQUET, [])
        return {"pictures": len(items), "rows": 0, "skipped": len(items), "unanswered": 0}
    named = ("pictures", "rows", "captioned", "resumed", "skipped", "unanswered", "calls", "cached",
             "prompt_tokens", "completion_tokens", "seconds", "pictures_per_second")  # fmt: skip
    figures = summary.as_dict()
    return {name: float(figures[name]) for name in named}


def remember(captions: Any, told: dict[str, float]) -> None:
    """Lineage: which model and prompts made them, of which pictures."""
    from components.records import keep
    from ctgi.cli.records import captions_record

    keep(captions, captions_record(Path(captions.path), {"rows": told["rows"], "skipped": told["skipped"]}))


def _is_picture(path: Path) -> bool:
    from ctgi.captioning.sent_picture import sent_picture

    try:
        sent_picture(path.read_bytes(), str(path))
    except (CtgiError, OSError):
        return False
    return True


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(caption_shard))
