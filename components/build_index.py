"""Bring the gallery up to date with the embedded shards."""

from pathlib import Path
from typing import Any, List  # noqa: UP035  (KFP knows lists of artifacts by this name)

from kfp import dsl

from components import page, shards
from components.releases import NONE
from components.workspace import Workspace


def build_index(
    embedded: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    gallery: str,
    fingerprint: str,
    listing: str,
    pictures: str,
    work: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Markdown],
    index: dsl.OutputPath(str),
):
    """Bring the gallery up to date: new and moved pictures in, those that are gone out, all others untouched.

    Args:
        embedded: a small gallery of each shard.
        gallery: where galleries of this name are; this release's is below it, by its fingerprint.
        fingerprint: of the release.
        listing: digest of the list of all pictures there should be.
        pictures: the folder they are in, kept beside each.
        work: the workspace that holds the list.
        metrics: pictures added, removed and held.
        report: the same for people.
        index: where the gallery is.
    """
    from components.build_index import bring_up_to_date
    from components.step import measured, step

    with step("build_index"):
        folders = [shard.path for shard in embedded]
        told = bring_up_to_date(folders, gallery, fingerprint, listing, pictures, work, report.path, index)
        measured(metrics, told)


def bring_up_to_date(
    embedded: list[str],
    gallery: str,
    fingerprint: str,
    listing: str,
    pictures: str,
    work: str,
    report: str,
    index: str,
) -> dict[str, float]:
    from ctgi.cli.records import gallery_record, pictures_digest
    from ctgi.export.lineage import write_lineage
    from ctgi.gallery.index import Gallery
    from ctgi.gallery.segments import MANIFEST

    there = {picture.id for picture in shards.read_list(listing, Workspace(work))}
    name = generation(fingerprint)
    with Workspace(gallery).folder(name) as place:
        parts = [Gallery.open(part, fingerprint) for part in embedded]
        if (place / MANIFEST).exists():
            whole = Gallery.open(place, fingerprint)
        else:
            whole = Gallery.create(place, fingerprint, parts[0].describe()["dim"])
        added = 0
        for part in parts:
            if ids := part.ids:
                payloads = [{**payload, "root": pictures.rstrip("/")} for payload in part.payloads(ids)]
                whole.upsert(ids, part.vectors(ids), payloads)
                added += len(ids)
        gone = whole.delete([key for key in whole.ids if key not in there])
        _join_dossiers([part.path for part in parts], place, set(whole.ids))
        held = len(whole)
        made_from = {
            f"shard {number:02d}": (part.path, pictures_digest(part.ids)) for number, part in enumerate(parts)
        }
        write_lineage(place, gallery_record(whole.ids, fingerprint, made_from, {}))
    place_of = f"{gallery.rstrip('/')}/{name}"
    page.write(index, place_of)
    told = {"added": float(added), "removed": float(gone), "held": float(held)}
    page.write(report, f"{place_of}: {added} added or moved, {gone} removed, {held} held\n")
    print(f"{added} added or moved, {gone} removed, {held} held", flush=True)
    return told


def generation(fingerprint: str) -> str:
    """The folder of a release's gallery: the next release's is built beside it."""
    return fingerprint[:16]


def _join_dossiers(parts: list[Path], place: Path, there: set[str]) -> None:
    from ctgi.interaction.dossier_store import DOSSIERS, DossierStore

    found = [part / DOSSIERS for part in parts if (part / DOSSIERS).is_file()]
    if not found and not (place / DOSSIERS).is_file():
        return
    with DossierStore(place / DOSSIERS) as whole:
        for part in found:
            with DossierStore(part) as store:
                if store.ids():
                    whole.put_all(store.read())
        whole.forget(whole.ids() - there)


def paths_in(gallery: str, fingerprint: str, asked_by: str = "") -> dict[str, str]:
    """Picture ids and paths that the release's gallery holds; none where there is no gallery yet.

    With a chat model's name only those with a dossier of that model and the questions of today.
    """
    from ctgi.gallery.index import Gallery
    from ctgi.gallery.segments import MANIFEST

    if fingerprint in ("", NONE):
        return {}
    with Workspace(gallery).folder(generation(fingerprint), shared=True) as place:
        if not (place / MANIFEST).exists():
            return {}
        whole = Gallery.open(place, fingerprint)
        ids = whole.ids
        if asked_by:
            asked = _asked(place, asked_by)
            ids = [key for key in ids if key in asked]
        paths: list[dict[str, Any]] = whole.payloads(ids)
        return {key: str(payload.get("path")) for key, payload in zip(ids, paths, strict=True)}


def _asked(place: Path, model: str) -> set[str]:
    from ctgi.captioning.pool import default_pool
    from ctgi.interaction.dossier_store import DOSSIERS, DossierStore
    from ctgi.interaction.enrol import prompt_version
    from ctgi.interaction.vocabulary import default_vocabulary

    if not (place / DOSSIERS).is_file():
        return set()
    vocabulary = default_vocabulary()
    with DossierStore(place / DOSSIERS) as store:
        return store.fresh(model, prompt_version(default_pool(), vocabulary), vocabulary.facets)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(build_index))
