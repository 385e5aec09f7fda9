"""Which pictures there are, and how they are divided: by picture id, the same way every time.

A shard is named by the leading bits of its pictures' ids, so a picture stays in its shard when others come
and go. Their number is a power of two and bounded: more pictures make larger shards, not more of them. A
shard's list is kept in the workspace under the digest of its content; that digest is what later steps are
cached by.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.workspace import Workspace, is_remote
from ctgi.errors import CtgiError
from ctgi.storage.store import BadKey, Damaged, NotThere

#: KFP's loops get into trouble far above it (kubeflow/pipelines#10035, #12131).
MOST = 32


@dataclass(frozen=True, order=True)
class Picture:
    """One picture: SHA-256 of its bytes, its path below the folder of pictures, who it shows if known."""

    id: str
    path: str
    identity: int | None


@dataclass(frozen=True)
class Found:
    """The pictures of a folder. `problems`: one line for each file that is left out."""

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]


def find(folder: str, layout: str, split: str, workspace: Workspace) -> Found:
    """Every picture below `folder` (a path or `s3://…`), or with `layout` those of a data set's split.

    Ids of files that have not changed since they were last seen are taken from an index in the workspace.
    Raises CtgiError for a folder that is not there or holds nothing.
    """
    files, root = _files(folder, layout, split)
    place = f"index/{hashlib.sha256(f'{folder} {layout}'.encode()).hexdigest()[:16]}.json"
    before: dict[str, list[Any]] = json.loads(workspace.read(place) or b"{}")
    now: dict[str, list[Any]] = {}
    first: dict[str, str] = {}
    pictures, problems = [], []
    for path, mark, identity in files:
        known = before.get(path)
        try:
            key = known[1] if known is not None and known[0] == mark else _picture_id(root, path)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); check the file")
            continue
        except (BadKey, NotThere, Damaged) as error:
            problems.append(f"{path}: {error}")
            continue
        now[path] = [mark, key]
        if key in first:
            problems.append(f"{path}: the same bytes as {first[key]}, which stands for both")
            continue
        first[key] = path
        pictures.append(Picture(key, path, identity))
    if not pictures:
        raise CtgiError(f"{folder}: no pictures in it; give a folder that has some")
    if now != before:
        workspace.write(place, json.dumps(now).encode())
    return Found(tuple(sorted(pictures)), tuple(problems))


def divide(pictures: Sequence[Picture], per_shard: int, workspace: Workspace) -> list[dict[str, str]]:
    """Write each shard's list to the workspace; returns what a pipeline loops over.

    All values are text: KFP turns numbers in loop items into floats.
    """
    count = 1
    while count < MOST and count * per_shard < len(pictures):
        count *= 2
    shards: defaultdict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        shards[int(picture.id[:8], 16) * count >> 32].append(picture)
    items = []
    for number in sorted(shards):
        digest = write_list(shards[number], workspace)
        items.append(
            {"shard": f"{number:02d}-of-{count:02d}", "digest": digest, "count": str(len(shards[number]))}
        )
    return items


def write_list(pictures: Iterable[Picture], workspace: Workspace) -> str:
    """Keep a list under the digest of its content, which is returned."""
    rows = sorted((p.id, p.path, p.identity) for p in pictures)
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    digest = hashlib.sha256(data).hexdigest()
    if workspace.read(f"lists/{digest}.jsonl") != data:
        workspace.write(f"lists/{digest}.jsonl", data)
    return digest


def read_list(digest: str, workspace: Workspace) -> list[Picture]:
    """The list with that digest. Raises CtgiError where it is gone or damaged."""
    name = f"lists/{digest}.jsonl"
    data = workspace.read(name)
    if data is None:
        raise CtgiError(f"{workspace.url}/{name}: the shard's list is gone; run the pipeline again")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CtgiError(f"{workspace.url}/{name}: the shard's list is damaged; remove it and run again")
    return [Picture(*json.loads(line)) for line in data.decode().splitlines()]


def picture_root(folder: str, layout: str) -> str:
    """Where the paths of pictures begin: a data set keeps them in `imgs`."""
    return f"{folder.rstrip('/')}/imgs" if layout else folder.rstrip("/")


def bring(pictures: Iterable[Picture], folder: str, layout: str, into: Path) -> Path:
    """A folder on this machine that holds these pictures: theirs, or a copy fetched `into`.

    What has gone from the store since it was listed, or is damaged there, is not in it.
    """
    root = picture_root(folder, layout)
    if not is_remote(root):
        return Path(root)
    from ctgi.storage.opening import open_store

    store = open_store(root)
    for picture in pictures:
        target = into / picture.path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                store.get(picture.path, target)
            except (NotThere, Damaged) as error:
                print(f"{picture.path}: {error}", file=sys.stderr, flush=True)
    return into


def _files(folder: str, layout: str, split: str) -> tuple[list[tuple[str, Any, int | None]], str]:
    """(path below the root, a mark that changes with the file, identity) of every file, and the root."""
    root = picture_root(folder, layout)
    if is_remote(folder):
        from ctgi.storage.opening import open_store

        if layout:
            raise CtgiError(f"{folder}: a data set with annotations has to be a folder; mount it")
        return [
            (entry.key, [entry.size, entry.modified.isoformat()], None) for entry in open_store(root).list()
        ], root
    from ctgi.datasets.pictures import find_pictures

    known: dict[Path, int | None]
    if layout:
        from ctgi.cli.data import read_split

        known = {sample.picture: sample.identity for sample in read_split(folder, layout, split)}
    else:
        known = dict.fromkeys(find_pictures(folder))
    files: list[tuple[str, Any, int | None]] = []
    for path, identity in known.items():
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        files.append((path.relative_to(root).as_posix(), mark, identity))
    return sorted(files, key=lambda file: file[0]), root


def _picture_id(root: str, path: str) -> str:
    from ctgi.datasets.pictures import picture_id

    if is_remote(root):
        from ctgi.storage.opening import open_store

        return picture_id(open_store(root).read(path))
    return picture_id(Path(root, path).read_bytes())
