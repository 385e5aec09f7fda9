"""Bring a published release to this machine: whole or not at all, going on where an earlier try stopped."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ctgi.errors import CtgiError
from ctgi.storage.atomic import atomic_directory
from ctgi.storage.digest import file_sha256
from ctgi.storage.manifest import File, Manifest
from ctgi.storage.releases import Progress, resolve
from ctgi.storage.replacing import obstacle
from ctgi.storage.store import Store

Layout = Literal["release", "repository"]
AT_ONCE = 4  # files on their way


@dataclass(frozen=True)
class Fetched:
    """What `fetch` did; `already` says that the folder held this very release before."""

    manifest: Manifest
    folder: Path
    already: bool


def fetch(
    store: Store,
    name: str,
    version: int | str,
    out: Path,
    *,
    layout: Layout = "release",
    replace: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Make `out` the folder of a published release; every file is checked against its digest.

    Files are collected in a hidden folder beside `out`, which appears under its name in one rename. A second
    process that fetches the same waits for the first.

    Args:
        version: a number, "latest", or the label of a pin.
        layout: "release", as it was published from, or "repository", as it lies in the store.
        replace: whether another release that is at `out` may be replaced. Nothing else ever is.

    Raises:
        CtgiError: there is no such release, an object is damaged, `out` holds something else, or the store
            fails. What has come stays for the next call.
    """
    manifest = resolve(store, name, version)
    wanted = {place: file for file in manifest.files if (place := _place(file, layout)) is not None}
    if _holds(out, wanted):
        return Fetched(manifest, out, True)
    _make_way(out, manifest, replace)
    staging = out.with_name(f".{out.name}.{manifest.content[:16]}.{layout}.fetch")
    with _alone(staging):
        if _holds(out, wanted):  # brought by the process that we waited for
            shutil.rmtree(staging, ignore_errors=True)
            return Fetched(manifest, out, True)
        _bring(store, manifest, wanted, staging, progress)
        with atomic_directory(out, replace=replace) as folder:
            for place in wanted:
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(staging / place, target)
            _make_way(out, manifest, replace)  # again: bringing it may have taken long
        shutil.rmtree(staging, ignore_errors=True)
    return Fetched(manifest, out, False)


def _make_way(out: Path, manifest: Manifest, replace: bool) -> None:
    """Raise CtgiError where something is at `out` that may not be replaced, or was not said to be."""
    if not os.path.lexists(out):
        return
    shapes = [file.path for file in manifest.files if file.path], [file.key for file in manifest.files]
    if why := obstacle(out, *shapes):
        raise CtgiError(
            f"{out}: is there and is not this release, nor can it be replaced: {why}; move it away or name "
            "another folder"
        )
    if not replace:
        raise CtgiError(
            f"{out}: is there and is not this release; name another folder or ask to replace it (--replace)"
        )


def _place(file: File, layout: Layout) -> str | None:
    return file.path if layout == "release" else file.key


def _holds(folder: Path, wanted: dict[str, File]) -> bool:
    """Whether the folder has these files, with this content."""
    paths = {place: folder / place for place in wanted}
    if not all(path.is_file() and path.stat().st_size == wanted[place].size for place, path in paths.items()):
        return False
    return all(file_sha256(path) == wanted[place].sha256 for place, path in paths.items())


def _bring(
    store: Store, manifest: Manifest, wanted: dict[str, File], staging: Path, progress: Progress | None
) -> None:
    """Several files at a time, so that one is checked and goes to disk while another is on its way."""
    total, done = sum(file.size for file in wanted.values()), 0
    counting, stopped = threading.Lock(), threading.Event()

    def count(size: int) -> None:
        nonlocal done
        if stopped.is_set():
            raise CtgiError("stopped, since another file could not be brought")
        with counting:
            done += size
            if progress is not None:
                progress(done, total)

    def bring(place: str, file: File) -> None:
        path = staging / place
        if path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256:
            count(file.size)
        else:
            store.get(f"{manifest.prefix}/{file.key}", path, sha256=file.sha256, progress=count)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        tasks = [pool.submit(bring, place, file) for place, file in wanted.items()]
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            stopped.set()  # what the others have by now stays for the next call
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _alone(staging: Path) -> Iterator[None]:
    """Hold the lock of the folder, which is the folder itself, made if it is not there."""
    while True:
        try:
            staging.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(staging, os.O_RDONLY)
        except FileNotFoundError:  # removed between the two
            continue
        except OSError as error:
            raise CtgiError(
                f"{staging.parent}: cannot be written to ({error.strerror}); check its rights"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if staging.exists() and os.path.samestat(os.fstat(descriptor), staging.stat()):
                yield
                return
        finally:
            os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    """A second name for the file: a kill before the folder is whole loses nothing. Moved where links fail."""
    try:
        os.link(source, target)
    except OSError:
        os.rename(source, target)
