"""Embed a folder of pictures into a gallery that can be searched.

Only pictures that the gallery does not have yet are embedded, so the same command continues after a kill and
takes up new pictures later. Files that are no pictures are skipped, one line each. A gallery belongs to the
release it was made with.

With --dossiers every picture is also asked the diagnostic questions once, and what it answers is kept beside
its vector: searching can then weigh the answers of hundreds of pictures without a call (`ctgi search
--dossiers`). A picture is asked again only where the model, a prompt, the questions or the facets have
changed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ctgi.captioning.printable import printable
from ctgi.cli import config, records, server
from ctgi.cli.figures import ready, write_figures
from ctgi.cli.numbers import positive
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery

EXAMPLES = """\
examples:
  ctgi index photos/ --release release/ --out gallery/
  ctgi index photos/ --release release/ --out gallery/ --prune     # also forget pictures that are gone
  ctgi index photos/ --release release/ --out gallery/ --dossiers \\
      --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct"""

# Pictures between two writes: what a kill can cost.
WRITE_EVERY = 256
# What is decoded at the same time: so many pictures, or so many pixels where they are large.
BATCH, BATCH_PIXELS = 32, 32_000_000
NOTHING: Mapping[Path, str] = {}


class PictureEncoder(Protocol):
    """What indexing needs of a release's encoders."""

    def encode_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]: ...


@dataclass
class IndexReport:
    """What became of the files of a folder. `skipped` are (file, reason)."""

    files: int = 0
    embedded: int = 0
    known: int = 0
    moved: int = 0
    duplicates: int = 0
    pruned: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, release, gallery."""
    parser.add_argument(
        "pictures", nargs="?", metavar="FOLDER", help="the pictures, found in all its folders"
    )
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="the release that embeds them")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the gallery, made if it is not there")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove pictures that are gone from the folder; what cannot be read stays",
    )
    parser.add_argument("--threads", type=positive, help="for the encoder (default: its own choice)")
    parser.add_argument(
        "--dossiers", action="store_true", help="ask every picture once and keep its answers for searching"
    )
    server.add_arguments(parser, "with --dossiers; it sees the pictures")


def run(options: argparse.Namespace) -> int:
    """Index, and say what became of the files."""
    config.need(
        options,
        pictures="no pictures were named: ctgi index FOLDER",
        release="no release was named: --release FOLDER",
        out="no gallery was named: --out FOLDER",
    )
    if server.wanted(options) != options.dossiers:
        raise CtgiError(
            "--dossiers needs a chat model: --server URL --model NAME"
            if options.dossiers
            else "--server and --model are for --dossiers, which was not given"
        )
    from ctgi.datasets.pictures import find_pictures
    from ctgi.export.runtime import OnnxEncoders
    from ctgi.gallery.index import Gallery
    from ctgi.gallery.segments import MANIFEST, check_place

    ready(json=options.json)
    check_place(options.out)
    unread: dict[Path, str] = {}
    files = find_pictures(options.pictures, without=options.out, unread=unread)
    encoders = OnnxEncoders(options.release, threads=options.threads)
    with alone(options.out, "--out"):
        if (options.out / MANIFEST).exists():
            gallery = Gallery.open(options.out, encoders.fingerprint, verify=True)
        else:
            gallery = Gallery.create(options.out, encoders.fingerprint, encoders.dim)
        return _go(options, gallery, encoders, files, unread)


def _go(
    options: argparse.Namespace,
    gallery: Gallery,
    encoders: OnnxEncoders,
    files: Sequence[Path],
    unread: Mapping[Path, str],
) -> int:
    """Index, prune, ask, and print."""
    root = Path(options.pictures)
    report = index_folder(
        gallery, encoders, root, files, unread=unread, prune=options.prune, progress=_progress()
    )
    for name, reason in report.skipped:
        print(
            f"skipped: {printable(reason if name in reason else f'{name}: {reason}')}",
            file=sys.stderr,
        )
    print(
        f"{report.files} files: {report.embedded} embedded, {report.known} known, {report.moved} moved, "
        f"{report.duplicates} duplicates, {len(report.skipped)} skipped, {report.pruned} removed"
    )
    pace = report.embedded / report.seconds if report.seconds else 0.0
    print(f"{report.seconds:.1f} s ({pace:.1f} pictures/s); {options.out} holds {len(gallery)} pictures")
    if not len(gallery):
        raise CtgiError(
            f"{options.pictures}: none of its {report.files} files is a picture; give a folder of pictures"
        )
    if options.prune and not report.embedded + report.known + report.moved:
        raise CtgiError(
            f"{options.pictures}: no picture was found there, so that none was removed from {options.out}; "
            "is the disk mounted? To be rid of the gallery, delete its folder"
        )
    figures = {**vars(report), "gallery": gallery.describe()}
    if options.dossiers:
        from ctgi.cli.dossiers import make_dossiers

        figures["dossiers"] = make_dossiers(options, gallery, root)
    records.remember_gallery(options, gallery.ids, encoders.fingerprint)
    write_figures(options.json, "index", figures)
    return 0


def index_folder(
    gallery: Gallery,
    encoders: PictureEncoder,
    root: Path,
    files: Sequence[Path],
    *,
    unread: Mapping[Path, str] = NOTHING,
    prune: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> IndexReport:
    """Bring `gallery` up to date with `files` under `root`; what it has already is not embedded again.

    A picture's id is that of its bytes, so a file that was renamed keeps its vector and gets its new path.
    Kept beside a vector: {"path": relative to the root, "root": absolute}. Raises what the gallery raises.

    Args:
        unread: folders below the root that could not be looked into, and why; they count as skipped.
        prune: remove the pictures that are gone from under the root. What only could not be read stays: a
            file that is there still, all that an unread folder held, and everything where no picture was
            found, as under a disk that is not mounted.
    """
    import numpy as np

    from ctgi.datasets.pictures import picture_id, read_picture

    report = IndexReport(files=len(files), skipped=[(str(path), why) for path, why in unread.items()])
    start = time.monotonic()
    home = str(root.resolve())
    seen: set[str] = set()
    read: set[str] = set()
    decoded: list[tuple[str, dict[str, Any], Image]] = []
    done: list[tuple[str, dict[str, Any], NDArray[np.float32]]] = []

    def embed() -> None:
        if decoded:
            vectors = encoders.encode_pictures([picture for _, _, picture in decoded])
            done.extend((key, payload, row) for (key, payload, _), row in zip(decoded, vectors, strict=True))
            report.embedded += len(decoded)
            decoded.clear()

    def write() -> None:
        embed()
        if done:
            ids, payloads, rows = zip(*done, strict=True)
            gallery.upsert(ids, np.stack(rows), payloads)
            done.clear()

    for number, path in enumerate(files, start=1):
        try:
            content = path.read_bytes()
            key = picture_id(content)
            payload = {"path": _below(path, root), "root": home}
            if key in seen:
                report.duplicates += 1
            elif key in gallery:
                seen.add(key)
                before = gallery.payloads([key])[0]
                if (before.get("path"), before.get("root")) == (payload["path"], payload["root"]):
                    report.known += 1
                else:
                    done.append((key, {**before, **payload}, gallery.vectors([key])[0]))
                    report.moved += 1
            else:
                decoded.append((key, payload, read_picture(content, name=str(path))))
                seen.add(key)
            read.add(payload["path"])
        except CtgiError as error:
            report.skipped.append((str(path), str(error)))
        except OSError as error:
            report.skipped.append((str(path), f"{path}: cannot be read ({error.strerror}); check its rights"))
        pixels = sum(picture.width * picture.height for _, _, picture in decoded)
        if len(decoded) >= BATCH or pixels >= BATCH_PIXELS:
            embed()
        if len(done) >= WRITE_EVERY:
            write()
        if progress is not None:
            progress(number, len(files))
    write()
    if prune and seen:
        closed = [f"{_below(folder, root)}/" for folder in unread]

        def gone(key: str) -> bool:
            said = gallery.payloads([key])[0]
            path = str(said.get("path"))
            if key in seen or said.get("root") != home or any(path.startswith(folder) for folder in closed):
                return False
            return path in read or not os.path.lexists(root / path)

        report.pruned = gallery.delete([key for key in gallery.ids if gone(key)])
    report.seconds = time.monotonic() - start
    return report


def _below(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _progress() -> Callable[[int, int], None] | None:
    from ctgi.cli.progress import counter

    return counter("index", "files")
