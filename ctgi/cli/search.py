"""Find people in a gallery by describing them.

With a chat model the description is refined as in Sec. 3.3 (MTI): the model looks at the best candidates, the
first that fits becomes the anchor and is asked about what the description leaves out. Without one, or when it
fails or time runs out, the plain ranking stands.

With --dossiers what the pictures answered when they were indexed (`ctgi index --dossiers`) is weighed
instead, without a call. --explain says for the first hits what their answers make of every detail of the
description; --converse asks back.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.captioning.printable import printable
from ctgi.cli import config, mti, reconstructor, server
from ctgi.cli.figures import ready, write_figures
from ctgi.cli.numbers import positive
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.mti import SearchOutcome

EXAMPLES = """\
examples:
  ctgi search "a woman in a red jacket" --gallery gallery/ --release release/
  ctgi search "a woman in a red jacket" --gallery gallery/ --release release/ \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct --deadline 10 --save strip.png
  ctgi search "a woman in a red jacket, no hat" --gallery gallery/ --release release/ --dossiers --explain"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Query, gallery, release, model, output."""
    parser.add_argument("query", nargs="?", metavar="DESCRIPTION", help="the person, in your own words")
    parser.add_argument("--gallery", type=Path, metavar="FOLDER", help="made by `ctgi index`")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="the one the gallery was made with")
    parser.add_argument("--top", type=positive, default=10, help="hits shown (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="where the pictures are now, if they moved"
    )
    parser.add_argument(
        "--save", type=Path, metavar="PNG", help="write a strip: the ranking before and after MTI"
    )
    group = parser.add_argument_group("dossiers (made by `ctgi index --dossiers`)")
    group.add_argument(
        "--dossiers", action="store_true", help="weigh what the pictures answered; no call (--judge dossier)"
    )
    group.add_argument(
        "--explain",
        nargs="?",
        type=positive,
        const=3,
        metavar="N",
        help="what the answers of the first N hits make of each detail (%(const)s)",
    )
    group.add_argument("--converse", action="store_true", help="ask back what tells the candidates apart")
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
    ready(json=options.json, save=options.save)
    with_model = server.wanted(options)
    reconstructor.check(options)
    weighed = options.dossiers or options.converse or getattr(options, "judge", None) == "dossier"
    mti.check(options, live=with_model, dossiers=weighed)
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery

    encoders = OnnxEncoders(options.release)
    gallery = Gallery.open(options.gallery, encoders.fingerprint)
    if not len(gallery):
        raise CtgiError(f"{options.gallery}: holds no pictures; put some in with `ctgi index`")
    dossiers = _dossiers(options, encoders.release.mti)
    if options.converse and dossiers is not None:
        return _converse(options, encoders, gallery, dossiers)
    outcome = asyncio.run(_search(options, encoders, gallery, dossiers, with_model))
    _show(options, outcome, gallery, with_model)
    explained = {}
    if options.explain is not None and dossiers is not None:
        explained = _explain(options, outcome, gallery, dossiers)
    if options.save is not None:
        _save(options, outcome, gallery)
        print(f"strip: {options.save}")
    paths = dict(_paths(options, outcome, gallery))
    own = {"vector": None, "scoring": None, "paths": paths, "explained": explained}
    write_figures(options.json, "search", {**vars(outcome), **own})
    return 0


def _dossiers(options: argparse.Namespace, release_mti: Mapping[str, Any]) -> Dossiers | None:
    """The gallery's dossiers where something needs them. They are the judge unless --judge says otherwise."""
    if options.dossiers and not hasattr(options, "judge"):
        options.judge = "dossier"
    judged = getattr(options, "judge", None) == "dossier"
    if not (options.dossiers or judged or options.explain is not None or options.converse):
        return None
    from ctgi.cli.dossiers import open_dossiers

    return open_dossiers(options.gallery, release_mti)


def _converse(
    options: argparse.Namespace, encoders: OnnxEncoders, gallery: Gallery, dossiers: Dossiers
) -> int:
    from ctgi.cli import converse

    if not hasattr(options, "judge"):
        options.judge = "dossier"
    chosen = mti.settings(options, max(options.top, 20), encoders.release.mti)
    talk = converse.open_conversation(options.query, encoders, gallery, dossiers, chosen)
    ids = list(talk.dossiers.ids)
    names = [str(payload["path"]) for payload in gallery.payloads(ids)]
    ended = converse.hold(
        talk, [printable(name) for name in names], converse.similarities(encoders, gallery, ids), options.top
    )
    if options.save is not None:
        from ctgi.datasets.pictures import read_picture

        converse.save_strip(
            talk, ended, lambda key: read_picture(_path(options, gallery, key)), options.top, options.save
        )
        print(f"strip: {options.save}")
    best = [int(row) for row in ended.order[: options.top]]
    explained = {}
    if options.explain is not None:
        from ctgi.cli.explain import tell_explanations

        hits = [(ids[row], printable(names[row])) for row in best[: options.explain]]
        explained = tell_explanations(dossiers, ended.known, hits)
    found = [{"id": ids[row], "path": names[row], "probability": float(ended.weights[row])} for row in best]
    own = {"description": ended.description, "ranking": found, "explained": explained}
    write_figures(options.json, "search", own)
    return 0


def _explain(
    options: argparse.Namespace, outcome: SearchOutcome, gallery: Gallery, dossiers: Dossiers
) -> dict[str, Any]:
    from ctgi.cli.explain import tell_explanations
    from ctgi.interaction.reading import read_query

    reading = outcome.reading or read_query(outcome.query, dossiers.facets)
    paths = _paths(options, outcome, gallery)
    hits = [(key, printable(paths[key])) for key in outcome.ranking.ids[: min(options.explain, options.top)]]
    return tell_explanations(dossiers, reading, hits)


async def _search(
    options: argparse.Namespace,
    encoders: OnnxEncoders,
    gallery: Gallery,
    dossiers: Dossiers | None,
    with_model: bool,
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
    writer = reconstructor.open_reconstructor(options)
    try:
        loop = mti.open_mti(
            options,
            encoders.encode_texts,
            gallery,
            client,
            pictures,
            writer,
            depth=max(options.top, 20),
            release_mti=encoders.release.mti,
            dossiers=dossiers,
            reader=reconstructor.text_client(writer),
        )
        return await loop.search(options.query)
    finally:
        if client is not None:
            await client.close()


def _show(options: argparse.Namespace, outcome: SearchOutcome, gallery: Gallery, with_model: bool) -> None:
    paths = {key: printable(path) for key, path in _paths(options, outcome, gallery).items()}
    if not with_model and outcome.stop_reason == "off":
        from ctgi.interaction.dossier_store import DOSSIERS

        enrolled = (options.gallery / DOSSIERS).exists()
        weighs = "--dossiers weighs what this gallery's pictures answered, " if enrolled else ""
        print(f"plain search (no chat model was named; {weighs}--server and --model add MTI)")
        for rank, (key, score) in _top(outcome.plain.ids, outcome.plain.scores, options.top):
            print(f"{rank:>3}  {score:6.3f}  {paths[key]}")
        return
    print("before MTI")
    for rank, (key, score) in _top(outcome.plain.ids, outcome.plain.scores, options.top):
        print(f"{rank:>3}  {score:6.3f}  {paths[key]}")
    _tell(outcome, paths, by_dossiers=getattr(options, "judge", None) == "dossier")
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


# What ended a search, for people, where its note does not say it.
_WHY = {
    "early_stop": "the first candidate is above xi and fits; nothing to refine",
    "no_anchor": "none of the candidates fits",
    "nothing_missing": "the description leaves nothing to ask",
    "nothing_learnt": "no answer of the anchor adds to the description",
    "nothing_read": "the description says nothing that the dossiers know of",
    "empty_gallery": "the gallery is empty",
}


def _tell(outcome: SearchOutcome, paths: dict[str, str], *, by_dossiers: bool) -> None:
    """What the interaction did, in lines for people."""
    why = outcome.note or _WHY.get(outcome.stop_reason, "")
    print(f"\nstopped: {outcome.stop_reason}" + (f" ({printable(why)})" if why else ""))
    if by_dossiers:
        likeliest = sorted(outcome.judged, key=lambda one: -(one.probability or 0.0))
        for one in likeliest[:5] if outcome.stop_reason != "nothing_read" else ():
            fits = "for it" if one.fits else "against it"
            print(f"  answers {fits}, posterior {one.probability:.2f} (was {one.rank})  {paths[one.id]}")
    else:
        says = {True: "yes", False: "no", None: "failed"}
        for one in outcome.judged:
            sure = "" if one.probability is None else f", p(yes) {one.probability:.2f}"
            print(f"  judged {one.rank:>2}: {says[one.fits]}{sure}  {paths[one.id]}")
    for anchor in outcome.anchors:
        trust = "" if anchor.trust == 1.0 else f" (trust {anchor.trust:.2f})"
        print(f"anchor: {paths[anchor.id]}{trust}")
        for pair in anchor.pairs:
            sure = "" if pair.probability is None else f" (p {pair.probability:.2f})"
            left_out = "" if pair.kept else f" [left out: {pair.reason}]"
            print(f"  {pair.question} {printable(pair.answer)}{sure}{left_out}")
        if anchor.refined_query is not None:
            print(f"refined query: {printable(anchor.refined_query)}")
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
    ids |= {anchor.id for anchor in outcome.anchors}
    return {key: str(gallery.payloads([key])[0]["path"]) for key in ids}
