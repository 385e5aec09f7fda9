"""Embed the pictures of one gallery shard."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from kfp import dsl

from components import page, releases, shards
from components.workspace import Workspace
from ctgi.errors import CtgiError


def embed_shard(
    shard: str,
    digest: str,
    pictures: str,
    work: str,
    store: str,
    release: str,
    version: str,
    fingerprint: str,
    embedded: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    layout: str = "",
    server: str = "",
    model: str = "",
    concurrency: int = 8,
):
    """Embed the pictures of one gallery shard, and with a chat model ask for their dossiers.

    Args:
        shard: its name, for messages.
        digest: of its list in the workspace.
        pictures: folder of the pictures or the data set.
        work: the workspace; a shard that was interrupted goes on there.
        store: where the release is.
        release: its name.
        version: its version.
        fingerprint: its fingerprint.
        embedded: a gallery of these pictures alone.
        metrics: pictures embedded and skipped.
        report: pictures that were skipped, and why.
        layout: annotation layout of a data set.
        server: an OpenAI-compatible server; without it no dossiers are made.
        model: the vision-language model on it.
        concurrency: requests at the same time.
    """
    from components.embed_shard import embed
    from components.records import keep
    from components.step import measured, step

    with step("embed_shard", shard):
        told = embed(
            shard, digest, pictures, work, store, release, version, fingerprint, embedded.path, report.path,
            layout, server, model, concurrency,
        )  # fmt: skip
        measured(metrics, told)
        keep(embedded)


def embed(
    shard: str,
    digest: str,
    folder: str,
    work: str,
    store: str,
    release: str,
    version: str,
    fingerprint: str,
    embedded: str,
    report: str,
    layout: str,
    server: str,
    model: str,
    concurrency: int,
) -> dict[str, float]:
    from ctgi.cli.index import index_folder
    from ctgi.cli.progress import counter
    from ctgi.cli.records import gallery_record
    from ctgi.export.lineage import write_lineage
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.gallery.segments import MANIFEST

    workspace = Workspace(work)
    wanted = shards.read_list(digest, workspace)
    made_with = releases.local_copy(store, release, version, fingerprint, work)
    encoders = OnnxEncoders(made_with)
    with (
        tempfile.TemporaryDirectory() as scratch,
        workspace.folder(f"embed/{fingerprint[:16]}/{digest[:16]}") as place,
    ):
        root = shards.bring(wanted, folder, layout, Path(scratch, "pictures"))
        if (place / MANIFEST).exists():
            gallery = Gallery.open(place, encoders.fingerprint)
        else:
            gallery = Gallery.create(place, encoders.fingerprint, encoders.dim)
        files = [root / picture.path for picture in wanted]
        done = index_folder(gallery, encoders, root, files, progress=counter(f"embed {shard}", "files"))
        asked = _ask(place, wanted, root, server, model, concurrency) if server and len(gallery) else 0
        made_from = {"release": (made_with, f"sha256:{fingerprint}")}
        said = {"dossiers": model} if server else {}
        write_lineage(place, gallery_record(gallery.ids, fingerprint, made_from, said))
        shutil.copytree(place, embedded, dirs_exist_ok=True, ignore=shutil.ignore_patterns("replies.*"))
    lines = [f"skipped: {reason}" for _, reason in done.skipped]
    title = f"shard {shard}: {done.embedded + done.known} pictures, {len(done.skipped)} skipped\n\n"
    page.write(report, title + "".join(f"- {page.plain_text(line)}\n" for line in lines))
    figures = {"embedded": done.embedded, "known": done.known, "skipped": len(done.skipped), "asked": asked}
    return {name: float(value) for name, value in figures.items()}


def _ask(
    place: Path, wanted: list[shards.Picture], root: Path, server: str, model: str, concurrency: int
) -> int:
    """Dossiers of the shard's pictures; what was answered before is not asked again."""
    from ctgi.captioning.progress import ProgressLine
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.dossier_store import DOSSIERS, DossierStore
    from ctgi.interaction.enrol import enrol
    from ctgi.mllm.cache import ReplyCache
    from ctgi.mllm.client import ChatClient
    from ctgi.mllm.retry import read_patience

    embedded = Gallery.open(place, None)
    pictures = [(picture.id, root / picture.path) for picture in wanted if picture.id in embedded]
    key = os.environ.get("OPENAI_API_KEY")

    async def work() -> int:
        cache = ReplyCache(place / "replies.sqlite")
        try:
            async with ChatClient(
                server, model, api_key=key, concurrency=concurrency, cache=cache, patience=read_patience()
            ) as client:
                with DossierStore(place / DOSSIERS) as store:
                    report = await enrol(pictures, store, client, progress=ProgressLine(sys.stderr))
        finally:
            cache.close()
        for path, reason in report.skipped:
            print(f"no dossier: {reason if path in reason else f'{path}: {reason}'}", flush=True)
        if report.unanswered:  # a step that succeeds is cached, and these would never be asked again
            raise CtgiError(
                f"{server} gave no answer about {report.unanswered} of {len(pictures)} pictures, named "
                "above; the next try asks about these alone"
            )
        return report.asked

    return asyncio.run(work())


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(embed_shard))
