"""Conversations as token ids, for training and serving alike.

Equal to what the chat template gives, except that text can never become a control token: a description that
contains "<|im_end|>" is read as those ten characters. Texts are data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from demo.models.architecture import (
    GRID_H,
    GRID_W,
    IMAGE_PAD,
    IMAGE_TOKENS,
    MERGE,
    TURN_END,
    TURN_START,
    VISION_END,
    VISION_START,
)

Message = Mapping[str, Any]


@dataclass(frozen=True)
class ChatIds:
    """`ids` with 27 image-pad ids for every picture; `answers` are the spans [start, end) of the assistant's
    words, each ending with its end-of-turn token: what training supervises."""

    ids: tuple[int, ...]
    pictures: int
    answers: tuple[tuple[int, int], ...]


class ChatEncoder:
    """Turns conversations of the OpenAI shape into ids with the model's tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import Tokenizer

        # An own copy, since reading special tokens as plain text is a switch of the whole tokenizer.
        plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        plain.encode_special_tokens = True
        self.text_ids = lru_cache(maxsize=16_384)(lambda text: tuple(plain.encode(text).ids))
        self.turn_start, self.turn_end, self.vision_start, self.vision_end, self.image_pad = (
            int(tokenizer.convert_tokens_to_ids(token))
            for token in (TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD)
        )

    def encode(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> ChatIds:
        """Messages have a `role` and a `content`: a text, or parts of type `text` and `image_url` (or
        `image`)."""
        ids: list[int] = []
        answers: list[tuple[int, int]] = []
        pictures = 0
        for message in messages:
            role, content = message["role"], message["content"]
            ids.append(self.turn_start)
            if role == "assistant":
                # Kept apart from the header so that a generated answer and the same answer read back have the
                # same ids: the next turn then finds this one in the prefix cache.
                ids += self.text_ids(f"{role}\n")
                start = len(ids)
                ids += self.text_ids(_text(content))
                ids.append(self.turn_end)
                answers.append((start, len(ids)))
            else:
                pending = f"{role}\n"
                for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                    if part["type"] == "text":
                        pending += part["text"]
                        continue
                    ids += self.text_ids(pending)
                    pending = ""
                    ids += [self.vision_start, *[self.image_pad] * IMAGE_TOKENS, self.vision_end]
                    pictures += 1
                ids += self.text_ids(pending)
                ids.append(self.turn_end)
            ids += self.text_ids("\n")
        if generation_prompt:
            ids += [self.turn_start, *self.text_ids("assistant\n")]
        return ChatIds(tuple(ids), pictures, tuple(answers))


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def rope_positions(ids: Sequence[int], image_pad: int) -> NDArray[np.int64]:
    """M-RoPE positions (3, length) of time, height and width, as Qwen2-VL's `get_rope_index` gives for 18x6
    grids.

    A picture's 9x3 merged tokens share one time and spread over rows and columns; the text after it goes on
    behind the larger of both.
    """
    rows, columns = GRID_H // MERGE, GRID_W // MERGE
    positions = np.empty((3, len(ids)), np.int64)
    at, position = 0, 0
    tokens = np.asarray(ids)
    starts = np.flatnonzero(tokens == image_pad)[::IMAGE_TOKENS]
    for start in starts:
        positions[:, at:start] = np.arange(position, position + start - at)
        position += int(start) - at
        at = int(start) + IMAGE_TOKENS
        positions[0, start:at] = position
        positions[1, start:at] = position + np.repeat(np.arange(rows), columns)
        positions[2, start:at] = position + np.tile(np.arange(columns), rows)
        position += max(rows, columns)
    positions[:, at:] = np.arange(position, position + len(ids) - at)
    return positions
