"""The store that --store names, and what it does not hold."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ctgi.errors import CtgiError

if TYPE_CHECKING:
    from ctgi.storage.store import Store


def named_store(options: argparse.Namespace, *, there: bool = False) -> Store:
    """The store that was named. A folder that is not there is as good as an empty one to who brings something
    or asks for something that must be in it; who asks what there is (`there`) has mistyped it."""
    from ctgi.storage.folder import FolderStore
    from ctgi.storage.opening import open_store

    if options.store is None:
        raise CtgiError("no store was named: --store s3://bucket/prefix, or a folder")
    store = open_store(options.store)
    if there and isinstance(store, FolderStore) and not store.root.is_dir():
        raise CtgiError(f"{store.url}: no such folder; check --store (`ctgi release publish` makes one)")
    return store


def unknown(store: Store, name: str) -> CtgiError:
    """The error for a name under which there is nothing."""
    return CtgiError(
        f"{store.url}: no release {name} is published there; `ctgi release list` shows the names"
    )
