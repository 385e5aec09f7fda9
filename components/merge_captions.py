"""Join the shards' captions, and leave out what says too little."""

import tempfile
from pathlib import Path
from typing import Any, List  # noqa: UP035  (KFP knows lists of artifacts by this name)

from kfp import dsl

from components import page


def merge_captions(
    shards: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    captions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    digest: dsl.OutputPath(str),
    min_answers: int = 0,
):
    """Join the shards' captions, and leave out what says too little.

    Args:
        shards: pseudo-captions of each shard.
        captions: all of them, ordered by picture id.
        metrics: captions kept and left out.
        report: some of the captions, to read.
        digest: of pictures and captions.
        min_answers: pictures whose interview kept fewer answers are left out.
    """
    from components.merge_captions import merge, remember
    from components.step import measured, step

    with step("merge_captions"):
        told = merge([shard.path for shard in shards], captions.path, report.path, digest, min_answers)
        measured(metrics, told)
        remember(captions, shards, told)


def merge(shards: list[str], captions: str, report: str, digest: str, min_answers: int) -> dict[str, float]:
    from ctgi.captioning.merge import merge_captions as merged
    from ctgi.datasets.pseudo import read_pseudo_captions

    Path(captions).parent.mkdir(parents=True, exist_ok=True)
    result = merged([Path(shard) for shard in shards], Path(captions), min_answers=min_answers)
    page.write(digest, result.digest)
    rows = read_pseudo_captions(captions)
    step = max(1, len(rows) // 10)
    shown = [{"picture": row.path, "T_s": row.static_caption, "T_e": row.caption} for row in rows[::step]]
    left = ", ".join(f"{count} {reason}" for reason, count in result.left_out.items()) or "none"
    page.write(report, f"{result.rows} captions; left out: {left}\n\n{page.table(shown[:10])}")
    return {"captions": float(result.rows), "left_out": float(sum(result.left_out.values()))}


def remember(captions: Any, shards: list[Any], told: dict[str, float]) -> None:
    """Lineage: which models and prompts made the captions, of which shards."""
    from components.records import keep, with_record
    from ctgi.cli.records import captions_record

    with tempfile.TemporaryDirectory() as scratch:
        made_from: dict[str, Any] = {}
        for number, shard in enumerate(shards):
            place = Path(scratch, str(number))
            place.mkdir()
            made_from[f"shard {number:02d}"] = with_record(shard, place)
        keep(captions, captions_record(Path(captions.path), told, made_from))


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(merge_captions))
