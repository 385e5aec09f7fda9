"""The lineage record that goes with an artifact.

KFP carries an artifact's own file or folder and its metadata, nothing that lies beside it. So the record of a
folder is a file inside it, and that of a file is kept in its metadata.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def keep(artifact: Any, record: Mapping[str, Any] | None = None) -> None:
    """Keep the record with an output artifact that has been written; that of a folder lies in it already, by
    the `ctgi` command that made the folder."""
    from ctgi.export.lineage import read_lineage

    folder = Path(artifact.path)
    if folder.is_dir():
        artifact.metadata["lineage"] = read_lineage(folder)["id"]
    else:
        artifact.metadata["lineage"] = json.dumps(record)


def pass_on(given: Any, artifact: Any) -> None:
    """The record of an input is that of the output, which is the same."""
    if record := given.metadata.get("lineage"):
        artifact.metadata["lineage"] = record


@contextmanager
def recorded(artifact: Any) -> Iterator[Path]:
    """A path of an input artifact, for as long as the block runs, that has its record beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        yield with_record(artifact, Path(scratch))


def with_record(artifact: Any, scratch: Path) -> Path:
    """A path of an input artifact that has its record beside it, as `ctgi.export.lineage` looks for it."""
    from ctgi.export.lineage import beside_of

    path = Path(artifact.path)
    record = artifact.metadata.get("lineage", "")
    if path.is_dir() or not record.startswith("{"):
        return path
    named = scratch / path.name
    named.symlink_to(path)
    beside_of(named).write_text(record, encoding="utf-8")
    return named
