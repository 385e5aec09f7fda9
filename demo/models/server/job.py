"""One conversation on its way through the engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from demo.models.architecture import IMAGE_TOKENS
from demo.models.chat import ChatIds, rope_positions
from demo.models.server.errors import ApiError
from demo.models.server.grammar import ChoiceTree
from demo.models.server.pictures import Picture
from demo.models.server.protocol import Answer, Call, TokenRecord


class Job:
    """What is asked, and how far its answer is. `on_done` is called once, with the answer or the error."""

    def __init__(
        self,
        call: Call,
        chat: ChatIds,
        pictures: Sequence[Picture],
        *,
        image_pad: int,
        context: int,
        tree: ChoiceTree | None,
        on_done: Callable[[Answer | Exception], None],
    ) -> None:
        self.call, self.pictures, self.tree, self.on_done = call, tuple(pictures), tree, on_done
        self.ids = list(chat.ids)
        self.positions = rope_positions(self.ids, image_pad)
        self.next_position = int(self.positions[:, -1].max()) + 1
        starts = np.flatnonzero(np.asarray(self.ids) == image_pad)[::IMAGE_TOKENS]
        self.picture_starts = [int(start) for start in starts]
        # In the prefix cache a picture's tokens go by the picture's number, so that no two pictures are
        # confused.
        self.keys = list(self.ids)
        for start, picture in zip(self.picture_starts, self.pictures, strict=True):
            self.keys[start : start + IMAGE_TOKENS] = [-picture.number] * IMAGE_TOKENS
        room = context - len(self.ids)
        needed = len(tree.token) if tree else call.max_tokens or 1
        if needed > room:
            raise ApiError(
                f"this model's context is {context} tokens; the conversation takes {len(self.ids)} and "
                f"the answer may take {needed}",
                param="messages", code="context_length_exceeded",
            )  # fmt: skip
        self.limit = min(call.max_tokens or room, room)
        self.random = random.Random(call.seed)
        self.cancelled = False
        self.fault: Exception | None = None  # what went wrong with this job alone
        self.deferred = False
        self.cached = 0  # prompt tokens found in the prefix cache
        self.fed = 0  # tokens whose keys and values stand in the row
        self.generated: list[int] = []
        self.records: list[TokenRecord] = []

    def answer(self, text: str, finish_reason: str, *, ended: bool) -> Answer:
        return Answer(
            text=text,
            records=tuple(self.records),
            finish_reason=finish_reason,
            prompt_tokens=len(self.ids),
            cached_tokens=self.cached,
            completion_tokens=len(self.records) + ended,
        )
