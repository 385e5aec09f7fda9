"""`ctgi release lineage`: where an artifact comes from, in a few lines for every step before it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError


def tell(options: argparse.Namespace) -> dict[str, Any]:
    """Print the chain of an artifact of this machine or, with --store, of a published release."""
    from ctgi.export.lineage import chain

    record = _published(options) if options.store is not None else _local(Path(options.subject[0]))
    for depth, one in chain(record):
        print("\n".join("  " * depth + line for line in _told(one)))
    return {"lineage": record}


def _local(artifact: Path) -> dict[str, Any]:
    from ctgi.export.lineage import LINEAGE, read_lineage, release_lineage
    from ctgi.export.release import RELEASE, Release

    if (artifact / RELEASE).is_file() and not (artifact / LINEAGE).exists():
        return release_lineage(Release.load(artifact, verify=False))
    return read_lineage(artifact)


def _published(options: argparse.Namespace) -> dict[str, Any]:
    from ctgi.export.lineage import LINEAGE, check_lineage
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import resolve

    store = open_store(options.store)
    manifest = resolve(store, options.subject[0], options.version or "latest")
    files = [file for file in manifest.files if file.path == LINEAGE]
    if not files:
        raise CtgiError(f"{store.url}: {manifest.name} {manifest.version} was published without its lineage")
    key = f"{manifest.prefix}/{files[0].key}"
    try:
        record = json.loads(store.read(key, sha256=files[0].sha256))
    except ValueError as error:
        raise CtgiError(f"{store.url}/{key}: not JSON; publish the release again") from error
    return check_lineage(record, f"{store.url}/{key}")


def _told(record: dict[str, Any]) -> list[str]:
    lines = [" ".join(part for part in (record["kind"], record["name"], record["made"]) if part)]
    for label in ("git", "image", "seed"):
        if record[label] is not None:
            lines.append(f"  {label} {record[label]}")
    for key, one in record["inputs"].items():
        lines.append(f"  from {key}: {one.get('name', '')} {one['digest'][:19]}")
    for label in ("prompts", "settings", "metrics"):
        if record[label]:
            said = ", ".join(f"{key} {value}" for key, value in record[label].items())
            lines.append(f"  {label}: {said[:300]}")
    return [*lines, f"  record {record['id'][:12]}"]
