"""Dossiers for the commands: made at index time, opened and calibrated at search time."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.cli import server
from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.gallery.index import Gallery
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.enrol import EnrolReport


def make_dossiers(options: argparse.Namespace, gallery: Gallery, root: Path) -> dict[str, Any]:
    """Ask every picture of the gallery that lies under `root` and has no fresh dossier; the figures."""
    from ctgi.interaction.dossier_store import DOSSIERS, DossierStore

    home = str(root.resolve())
    payloads = zip(gallery.ids, gallery.payloads(gallery.ids), strict=True)
    pictures = [(key, root / str(item["path"])) for key, item in payloads if item.get("root") == home]
    with DossierStore(gallery.path / DOSSIERS) as store:
        if options.prune:
            store.forget(store.ids() - set(gallery.ids))
        report = asyncio.run(_enrol(options, pictures, store))
    for name, reason in report.skipped:
        print(f"skipped: {reason if name in reason else f'{name}: {reason}'}", file=sys.stderr)
    print(
        f"dossiers: {report.asked} asked ({report.stale} of them again), {report.fresh} known, "
        f"{len(report.skipped)} skipped; {report.calls} calls, {report.cached} from the cache, "
        f"{report.prompt_tokens:,} tokens sent, {report.completion_tokens:,} written, "
        f"{report.seconds:.1f} s; "
        f"{report.bytes_per_picture:.0f} bytes a picture"
    )
    if pictures and not report.asked + report.fresh:
        raise CtgiError(f"no picture got its dossier; the first reason: {report.skipped[0][1]}")
    return vars(report)


async def _enrol(options: argparse.Namespace, pictures: list[tuple[str, Path]], store: Any) -> EnrolReport:
    from ctgi.captioning.progress import ProgressLine
    from ctgi.interaction.enrol import enrol

    async with server.open_client(options, cache=options.out / "replies.sqlite", patient=True) as client:
        return await enrol(pictures, store, client, progress=ProgressLine(sys.stderr))


def open_dossiers(place: Path, release_mti: Mapping[str, Any]) -> Dossiers:
    """The dossiers in a gallery's folder, or in a file, calibrated as the release says.

    Raises CtgiError where there are none.
    """
    from ctgi.interaction.dossier import Dossiers
    from ctgi.interaction.dossier_store import DOSSIERS
    from ctgi.interaction.temperature import Temperatures

    dossiers = Dossiers.load(place / DOSSIERS if place.is_dir() else place)
    if "dossiers" not in release_mti:
        return dossiers
    return Temperatures.of(release_mti["dossiers"]).applied(dossiers)
