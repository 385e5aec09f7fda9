"""Releases in the object store, as the steps need them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.workspace import is_remote
from ctgi.errors import CtgiError

#: Stands for "there is none" between steps: a local run makes something else of an empty text.
NONE = "none"


@dataclass(frozen=True)
class Serving:
    """The release that serves: `trained` is the digest of the list of its training pictures."""

    version: str
    fingerprint: str
    trained: str


def serving(store: str, name: str, version: str) -> Serving | None:
    """That version, without one the pinned, else the latest; None where there is none."""
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import LATEST, PINNED, resolve
    from ctgi.storage.store import NotThere

    there = open_store(store)
    for wanted in [version] if version else [PINNED, LATEST]:
        try:
            found = resolve(there, name, wanted)
        except NotThere:
            continue
        fingerprint = str(found.facts.get("fingerprint", ""))
        if not fingerprint:
            raise CtgiError(
                f"{store}: {name} {found.version} was published without its fingerprint; publish it again"
            )
        return Serving(str(found.version), fingerprint, str(found.facts.get("pictures_list", "")))
    return None


def local_copy(store: str, name: str, version: str, fingerprint: str, work: str) -> Path:
    """A folder with that release, checked against its fingerprint; fetched once for a workspace."""
    from ctgi.export.release import Release
    from ctgi.storage.fetch import fetch
    from ctgi.storage.opening import open_store

    if version == NONE:
        raise CtgiError(f"{store}: no release {name} is published there; run ctgi_train first")
    parent = Path(tempfile.gettempdir(), "ctgi-releases") if is_remote(work) else Path(work, "releases")
    folder = fetch(
        open_store(store), name, int(version), parent / f"{name}-{version}-{fingerprint[:16]}"
    ).folder
    found = Release.load(folder).fingerprint
    if found != fingerprint:
        raise CtgiError(
            f"{store}: {name} {version} has the fingerprint {found[:12]}, not {fingerprint[:12]}; "
            "run the pipeline again"
        )
    return folder
