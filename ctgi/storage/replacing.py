"""What may be replaced: a folder that holds an older one of what is to come, and nothing else.

To replace a folder is to delete what was in it. Whoever mistypes its name must not lose what has nothing to
do with releases, so that a folder is looked through before it goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

#: The file by which a release is known, wherever it lies in the folder.
MARK = "release.json"
Reason = tuple[int, str]  # of files that fit before it was met, and what it is


def obstacle(folder: Path, *shapes: Iterable[str]) -> str | None:
    """Why the folder cannot be replaced; None where it can: it is absent, empty or a release.

    Args:
        shapes: the paths of the files that a release may consist of, in each layout that it may lie in. Where
            a part of a path is a number, it may be another one, the same in the whole folder.
    """
    if not os.path.lexists(folder):
        return None
    if folder.is_symlink() or not folder.is_dir():
        return "it is a link" if folder.is_symlink() else "it is a file"
    reasons = [_against(folder, set(shape)) for shape in shapes]
    # Of several layouts the one that comes closest has the reason that helps.
    return None if None in reasons else max(reason for reason in reasons if reason)[1]


def _against(folder: Path, shape: set[str]) -> Reason | None:
    wanted = {_numberless(path)[0] for path in shape}
    parents = {str(parent) for path in wanted for parent in PurePosixPath(path).parents}
    found: list[str] = []
    numbers: set[str] = set()
    try:
        for path, is_file in _entries(folder):
            plain, own = _numberless(path)
            if plain not in (wanted if is_file else parents):
                return len(found), f"{path!r} in it is not of a release"
            numbers |= own
            found += [path] if is_file else []
    except OSError as error:
        return len(found), f"{error.filename} in it cannot be read"
    if len(numbers) > 1:
        return len(found), f"it holds versions {' and '.join(sorted(numbers))}"
    marks = [path for path in wanted if PurePosixPath(path).name == MARK]
    if not marks:
        whole = {_numberless(path)[0] for path in found} == wanted
    else:
        whole = any(_is_mark(folder / path) for path in found)
    if (found or any(folder.iterdir())) and not whole:
        return len(found), "it holds no release"
    return None


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Every path below the folder, and whether it is a file; a link to a folder counts as one."""

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        for name in sorted(files):
            yield Path(parent, name).relative_to(folder).as_posix(), True
        for name in sorted(folders):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path.is_symlink()


def _numberless(path: str) -> tuple[str, set[str]]:
    parts = PurePosixPath(path).parts
    return "/".join("#" if part.isdecimal() else part for part in parts), {p for p in parts if p.isdecimal()}


def _is_mark(path: Path) -> bool:
    if path.name != MARK:
        return False
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and {"name", "version", "fingerprint", "embedding_dim"} <= set(said)
