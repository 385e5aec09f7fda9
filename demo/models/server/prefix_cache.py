"""Keys and values of prompts seen before, found again by their first tokens.

A conversation is cut into blocks of eight tokens. A block is known by its own tokens and by the block before
it, so whatever two prompts share from the start is computed once: the system text and the picture for every
judge call about one picture, all former turns for the next turn of an interview. The least recently used
blocks make room for new ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 8
Key = tuple[int, tuple[int, ...]]


class PrefixCache:
    """`like` is the running key-value block (2, layers, rows, kv heads, places, head width) to copy from and
    into."""

    def __init__(self, like: Tensor, blocks: int) -> None:
        two, layers, _, heads, places, width = like.shape
        if blocks and blocks * BLOCK < places:
            raise ValueError(
                f"a prefix cache of {blocks} blocks cannot hold one conversation of {places} tokens"
            )
        self.pool = torch.empty(two, layers, blocks, heads, BLOCK, width)
        self.free = list(range(blocks))
        self.known: OrderedDict[Key, tuple[int, int]] = (
            OrderedDict()
        )  # key -> (own number, place in the pool)
        self.numbers = 0

    def chain(self, tokens: Sequence[int], limit: int) -> tuple[list[Key], Key | None]:
        """Keys of the known blocks `tokens` start with, at most `limit` tokens long, and the first unknown
        key."""
        keys: list[Key] = []
        before = 0
        for start in range(0, limit - BLOCK + 1, BLOCK):
            key = (before, tuple(tokens[start : start + BLOCK]))
            found = self.known.get(key)
            if found is None:
                return keys, key
            keys.append(key)
            before = found[0]
        return keys, None

    def load(self, keys: Sequence[Key], into: Tensor, row: int) -> int:
        """Copy the blocks to the start of a row; how many tokens that are."""
        if not keys:
            return 0
        places = [self.known[key][1] for key in keys]
        self._touch(keys)
        copied = self.pool[:, :, places].transpose(2, 3).flatten(3, 4)
        into[:, :, row, :, : copied.shape[3]] = copied
        return int(copied.shape[3])

    def store(self, tokens: Sequence[int], source: Tensor, row: int) -> None:
        """Remember the full blocks of `tokens`, whose keys and values stand at the start of the row."""
        if not self.pool.shape[2]:
            return
        whole = len(tokens) - len(tokens) % BLOCK
        keys, missing = self.chain(tokens, whole)
        self._touch(keys)
        if missing is None:
            return
        first = len(keys) * BLOCK
        before = self.known[keys[-1]][0] if keys else 0
        places = []
        for start in range(first, whole, BLOCK):
            if not self.free:
                self.free.append(self.known.popitem(last=False)[1][1])
            place = self.free.pop()
            self.numbers += 1
            key = (before, tuple(tokens[start : start + BLOCK]))
            self.known[key] = (self.numbers, place)
            keys.append(key)
            places.append(place)
            before = self.numbers
        new = source[:, :, row, :, first:whole].unflatten(3, (len(places), BLOCK))
        self.pool[:, :, places] = new.transpose(2, 3)
        self._touch(keys)

    def _touch(self, keys: Sequence[Key]) -> None:
        # From the end to the start: what a block stands on is always more recent than the block itself, so
        # that nothing is thrown out from under a block that stays.
        for key in reversed(keys):
            self.known.move_to_end(key)
