"""The first half of the loop: render, interview, fine-tune, export, index."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ctgi.cli.progress import counter
from demo.chat_models import ChatModel
from demo.settings import Settings
from demo.stages import digest_of

LAYOUT = "rstpreid"
PARQUET = "captions.parquet"


def render_world(place: Path, settings: Settings, threads: int) -> dict[str, Any]:
    """Pictures, annotations and the truth about them."""
    from demo.pedestrians.world import make_world

    world = make_world(
        place,
        settings.seed,
        settings.identities,
        settings.pictures,
        workers=threads,
        progress=counter("render", "pictures"),
        layouts=(LAYOUT,),
    )
    return {"people": len(world.people), "pictures": len(world.pictures)}


def caption(place: Path, world: Path, settings: Settings, chat: ChatModel) -> dict[str, Any]:
    """MTG: an interview and a pseudo-caption for each training picture."""
    from ctgi.captioning.composer import Composer
    from ctgi.captioning.pair_filter import PairFilter
    from ctgi.captioning.pool import default_pool
    from ctgi.captioning.progress import ProgressLine
    from ctgi.captioning.run import PictureItem, caption_pictures
    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pseudo import read_pseudo_captions

    samples = read_dataset(world, LAYOUT).train
    pool = default_pool()

    async def work() -> Any:
        async with chat.client(2 * settings.concurrency) as client:
            return await caption_pictures(
                [PictureItem(sample.picture, sample.identity) for sample in samples],
                place,
                client,
                pool,
                Composer(pool),
                rounds=settings.rounds,
                root=world / "imgs",
                pair_filter=PairFilter(pool, settings.caption_min_probability),
                progress=ProgressLine(),
            )

    summary = asyncio.run(work())
    rows = read_pseudo_captions(place / PARQUET)
    texts = sorted((row.picture_id, row.static_caption, row.caption) for row in rows)
    return {
        **summary.as_dict(),
        **_spent(place),
        "answers": _right_answers(world, rows),
        "digest": digest_of(texts),
    }


def _spent(place: Path) -> dict[str, int]:
    """Calls and tokens of the whole set, in however many sittings it was made."""
    import pyarrow.parquet

    names = ["calls", "prompt_tokens", "completion_tokens"]
    columns = pyarrow.parquet.read_table(place / PARQUET, columns=names).to_pydict()
    return {name: sum(columns[name]) for name in names}


def _right_answers(world: Path, rows: Any) -> dict[str, int]:
    """How many of the interviews' answers are so; the truth is known from the renderer."""
    from demo.pedestrians.language import TOPIC_ATTRIBUTES, parse_answer
    from demo.pedestrians.world import read_world

    visible = {picture.path: picture.visible for picture in read_world(world).pictures}
    counts = {"kept": 0, "kept_right": 0, "dropped": 0, "dropped_right": 0}
    for row in rows:
        for pair in row.pairs:
            truth = visible[row.path]
            said = parse_answer(pair.topic, pair.answer)
            asked = [name for name in TOPIC_ATTRIBUTES[pair.topic] if truth[name] is not None]
            which = "kept" if pair.kept else "dropped"
            counts[which] += len(asked)
            counts[f"{which}_right"] += sum(said.get(name) == truth[name] for name in asked)
    return counts


def train(
    place: Path,
    captions: Path,
    world: Path,
    clip: Path,
    settings: Settings,
    text: Literal["caption", "static_caption"],
    context: int,
) -> dict[str, Any]:
    """Fine-tune the small CLIP on T_e or T_s with 77 or 248 positions; val chooses the epoch."""
    import torch

    from ctgi.datasets.annotations import read_dataset
    from ctgi.datasets.pseudo import pseudo_samples, read_pseudo_captions
    from ctgi.encoders.loading import load_checkpoint
    from ctgi.training.engine import train as fine_tune

    samples = pseudo_samples(read_pseudo_captions(captions / PARQUET), world / "imgs", text)
    options = train_options(settings)
    torch.manual_seed(options.seed)
    result = fine_tune(
        options, samples, read_dataset(world, LAYOUT).val, load_checkpoint(clip, context), place
    )
    (place / "last.safetensors").unlink(missing_ok=True)  # optimiser state: the run has ended
    return {
        "pictures": len(samples),
        "best_epoch": result.best_epoch,
        "metrics": result.metrics,
        "history": result.history,
        "seconds": result.seconds,
    }


def train_options(settings: Settings) -> Any:
    """The training configuration. Rate and epsilon are for a model of four million weights."""
    from ctgi.training.config import TrainConfig

    return TrainConfig(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        base_lr=settings.base_lr,
        adam_eps=1e-8,
        lr_step="step",
        seed=1,
        device="cpu",
        select="mAP",
    )


def export(place: Path, run: Path, metrics: Mapping[str, Any], lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The release, after a parity check."""
    from ctgi.encoders.loading import load_checkpoint
    from ctgi.encoders.pixels import preprocess_spec
    from ctgi.export.publish import export_release

    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        print(f"{'':>8}{line}", flush=True)

    release = export_release(
        load_checkpoint(run / "best"),
        place,
        name="demo",
        preprocess=preprocess_spec(),
        metrics={"val": dict(metrics)},
        lineage=dict(lineage),
        replace=True,
        report=report,
    )
    return {
        "fingerprint": release.fingerprint,
        "sizes": release.sizes,
        "parity": lines,
        "metrics": release.metrics,
    }


def index(place: Path, release: Path, world: Path, threads: int) -> dict[str, Any]:
    """The test pictures in a gallery."""
    from ctgi.cli.index import index_folder
    from ctgi.datasets.annotations import read_dataset
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.gallery.segments import MANIFEST

    encoders = OnnxEncoders(release, threads=threads)
    if (place / MANIFEST).exists():
        gallery = Gallery.open(place, encoders.fingerprint)
    else:
        gallery = Gallery.create(place, encoders.fingerprint, encoders.dim)
    files = [sample.picture for sample in read_dataset(world, LAYOUT).test]
    report = index_folder(gallery, encoders, world / "imgs", files, progress=counter("index", "pictures"))
    return {"pictures": len(gallery), "embedded": report.embedded, "seconds": report.seconds}
