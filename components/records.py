"""The lineage record that goes with an artifact.

KFP carries an artifact's own file or folder and its metadata, nothing that lies beside it. So the record of a
folder is a file inside it, and that of a file is kept in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def keep(artifact: Any, record: Mapping[str, Any]) -> None:
    """Keep the record with an output artifact that has been written."""
    from ctgi.export.lineage import write_lineage

    if Path(artifact.path).is_dir():
        write_lineage(Path(artifact.path), record)
        artifact.metadata["lineage"] = record["id"]
    else:
        artifact.metadata["lineage"] = json.dumps(record)


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
