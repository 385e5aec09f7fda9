"""Find people in a gallery by describing them.

With a chat model the description is refined as in Sec. 3.3 (MTI): the model looks at the best candidates, the
first that fits becomes the anchor and is asked about what the description leaves out. Without one, or when it
fails or time runs out, the plain ranking stands.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import config, mti, reconstructor, server
from ctgi.cli.figures import write_figures
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.mti import SearchOutcome

EXAMPLES = """\
examples:
  ctgi search "a woman in a red jacket" --gallery gallery/ --release release/
  ctgi search "a woman in a red jacket" --gallery gallery/ --release release/ \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --deadline 10 --save strip.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Query, gallery, release, model, output."""
    parser.add_argument("query", nargs="?", metavar="DESCRIPTION", help="the person, in your own words")
    parser.add_argument("--gallery", type=Path, metavar="FOLDER", help="made by `ctgi index`")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="the one the gallery was made with")
    parser.add_argument("--top", type=server.positive, default=10, help="hits shown (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="where the pictures are now, if they moved"
    )
    parser.add_argument(
        "--save", type=Path, metavar="PNG", help="write a strip: the ranking before and after MTI"
    )
    server.add_arguments(parser, "it sees the pictures")
    mti.add_arguments(parser)
    reconstructor.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Search, and show the ranking before and after MTI."""
    config.need(
        options,
        query='nothing was described: ctgi search "DESCRIPTION"',
        gallery="no gallery was named: --gallery FOLDER",
        release="no release was named: --release FOLDER",
    )
    with_model = server.wanted(options)
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery

    encoders = OnnxEncoders(options.release)
    gallery = Gallery.open(options.gallery, encoders.fingerprint)
    if not len(gallery):
        raise CtgiError(f"{options.gallery}: holds no pictures; put some in with `ctgi index`")
    outcome = asyncio.run(_search(options, encoders, gallery, with_model))
    _show(options, outcome, gallery, with_model)
    if options.save is not None:
        _save(options, outcome, gallery)
        print(f"strip: {options.save}")
    figures = {**vars(outcome), "vector": None, "paths": dict(_paths(options, outcome, gallery))}
    write_figures(options.json, "search", figures)
    return 0


async def _search(
    options: argparse.Namespace, encoders: OnnxEncoders, gallery: Gallery, with_model: bool
) -> SearchOutcome:
    from ctgi.captioning.sent_picture import sent_picture

    def pictures(picture_id: str) -> bytes:
        path = _path(options, gallery, picture_id)
        try:
            return sent_picture(path.read_bytes(), str(path))
        except OSError as error:
            raise CtgiError(
                f"{path}: {error.strerror}; say where the pictures are with --pictures"
            ) from error

    client = server.open_client(options) if with_model else None
    try:
        loop = mti.open_mti(
            options,
            encoders.encode_texts,
            gallery,
            client,
            pictures,
            reconstructor.open_reconstructor(options),
            depth=max(options.top, 20),
            scale=mti.calibration(encoders.release.mti),
        )
        return await loop.search(options.query)
    finally:
        if client is not None:
            await client.close()


def _show(options: argparse.Namespace, outcome: SearchOutcome, gallery: Gallery, with_model: bool) -> None:
    paths = _paths(options, outcome, gallery)
    if not with_model:
        print("plain search (no chat model was named; --server and --model add MTI)")
        for rank, (key, score) in _top(outcome.plain.ids, outcome.plain.scores, options.top):
            print(f"{rank:>3}  {score:6.3f}  {paths[key]}")
        return
    print("before MTI")
    for rank, (key, score) in _top(outcome.plain.ids, outcome.plain.scores, options.top):
        print(f"{rank:>3}  {score:6.3f}  {paths[key]}")
    _tell(outcome, paths)
    print("after MTI" if outcome.ranking != outcome.plain else "after MTI: the same ranking")
    if outcome.ranking != outcome.plain:
        for rank, (key, score) in _top(outcome.ranking.ids, outcome.ranking.scores, options.top):
            before = outcome.plain.rank_of(key)
            moved = "" if before == rank else f"  (was {before if before else 'lower'})"
            print(
                f"{rank:>3}  {score:6.3f}  {paths[key]}{moved}{'  anchor' if key == outcome.anchor else ''}"
            )
    print(
        f"{outcome.calls} calls ({outcome.cached} from the cache, {outcome.abandoned} called off), "
        f"{outcome.prompt_tokens} tokens sent, "
        f"{outcome.completion_tokens} written; "
        + ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in outcome.seconds.items())
    )


def _tell(outcome: SearchOutcome, paths: dict[str, str]) -> None:
    """What the interaction did, in lines for people."""
    print(f"\nstopped: {outcome.stop_reason}" + (f" ({outcome.note})" if outcome.note else ""))
    says = {True: "yes", False: "no", None: "failed"}
    for judged in outcome.judged:
        sure = "" if judged.probability is None else f", p(yes) {judged.probability:.2f}"
        print(f"  judged {judged.rank:>2}: {says[judged.fits]}{sure}  {paths[judged.id]}")
    if outcome.anchor is not None:
        print(f"anchor: {paths[outcome.anchor]}")
    for pair in outcome.pairs:
        sure = "" if pair.probability is None else f" (p {pair.probability:.2f})"
        print(f"  {pair.question} {pair.answer}{sure}" + ("" if pair.kept else f" [left out: {pair.reason}]"))
    if outcome.refined_query is not None:
        print(f"refined query: {outcome.refined_query}")
    print()


def _save(options: argparse.Namespace, outcome: SearchOutcome, gallery: Gallery) -> None:
    from ctgi.datasets.pictures import read_picture
    from ctgi.evaluation.figures import Shown, Strip, draw_strip, save_png

    def shown(ids: tuple[str, ...], scores: tuple[float, ...]) -> list[Shown]:
        return [
            Shown(read_picture(_path(options, gallery, key)), None, score, anchor=key == outcome.anchor)
            for _, (key, score) in _top(ids, scores, options.top)
        ]

    strip = Strip(
        outcome.query,
        shown(outcome.plain.ids, outcome.plain.scores),
        shown(outcome.ranking.ids, outcome.ranking.scores),
        refined=outcome.refined_query,
        note=f"stopped: {outcome.stop_reason}",
    )
    save_png(draw_strip(strip, top=options.top), options.save)


def _top(ids: tuple[str, ...], scores: tuple[float, ...], count: int) -> Any:
    return enumerate(list(zip(ids, scores, strict=True))[:count], start=1)


def _path(options: argparse.Namespace, gallery: Gallery, picture_id: str) -> Path:
    payload = gallery.payloads([picture_id])[0]
    home = options.pictures or payload.get("root") or "."
    return Path(home) / str(payload["path"])


def _paths(options: argparse.Namespace, outcome: SearchOutcome, gallery: Gallery) -> dict[str, str]:
    ids = {*outcome.plain.ids, *outcome.ranking.ids, *(judged.id for judged in outcome.judged)}
    return {key: str(gallery.payloads([key])[0]["path"]) for key in ids}
