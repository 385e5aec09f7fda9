"""CLIP's tokens, cut to the longest text of the batch, with no way for a text to forge a special token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import regex  # type: ignore[import-untyped]
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

START, END, PAD = 49406, 49407, 0
SHORT, LONG = 77, 248


def tokenize(texts: Sequence[str], context: int) -> Tensor:
    """Token ids, int64 (N, L), where L <= context is the length of the longest text. N = 0 gives (0, 2).

    A row is [START] text [END] and padding; a longer text is cut and its last position made END, as in CLIP
    and IRRA. Equal to open_clip's tokenizer except that "<start_of_text>" and "<end_of_text>" inside a text
    are read as the words they are: taken as markers they would move the point where the embedding is read.
    """
    if context < 2:
        raise ValueError(f"a context of {context} has no room for the start and end tokens")
    encode = _tokenizer().encode
    rows = [[START, *encode(text)[: context - 2], END] for text in texts]
    ids = torch.full((len(rows), max(map(len, rows), default=2)), PAD, dtype=torch.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    tokenizer = SimpleTokenizer()
    # open_clip's pattern without its first two alternatives, the special tokens.
    tokenizer.pat = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
    )
    tokenizer.cache.clear()
    return tokenizer
