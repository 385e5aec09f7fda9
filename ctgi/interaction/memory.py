"""What the searches of one gallery have found out and what no parameter changes, for trying many parameters.

Where the same queries are asked under one setting after another (`ctgi tune`), what a query says, what the
model makes of a picture, what an anchor answers and how a query is rewritten are worked out once. A search
that stands alone has `NoMemory`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """Serves one gallery, one chat model and one set of dossiers; holds as much as the searches bring up.

    A failure is not remembered.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gave for this key before, or gives now."""
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found

    async def awaited(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The same of what has to be waited for."""
        if key not in self._known:
            self._known[key] = await make()
        found: T = self._known[key]
        return found

    async def apart(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what takes long. Nobody waits for an answer, so it need not leave room for other searches."""
        return work(*arguments)


class NoMemory(Memory):
    """Remembers nothing."""

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        return make()

    async def awaited(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        return await make()

    async def apart(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread: other searches go on."""
        return await asyncio.to_thread(work, *arguments)
