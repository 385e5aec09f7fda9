"""CLIP's tokenizer at search time: `tokenizer.json` of a release, without torch or open_clip."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError


def clean_text(text: str) -> str:
    """Repair, unescape, collapse white space and lower-case, as CLIP does before it looks for words.

    This stays in Python, outside `tokenizer.json`: mojibake repair cannot be said there, and Rust's
    lower-casing knows neither the final sigma nor the same edition of Unicode, which would break the
    equality with CLIP.

    Source: `_clean_lower` of open_clip, after OpenAI's CLIP.
    """
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class TextTokenizer:
    """Texts to ids: `[SOT] + ids + [EOT]`, cut to `context` with the last position forced to EOT.

    Equal to open_clip's `SimpleTokenizer` for every text, with one exception that is meant: the literal marks
    `<start_of_text>` and `<end_of_text>` inside a text are words like any other here. open_clip honours
    them, and a query that contains an end mark would be read only up to it.
    """

    def __init__(self, path: Path | str, context: int) -> None:
        """Read `tokenizer.json` at `path`.

        Raises:
            CtgiError: the file is not there or is not a tokenizer, or `context` is below 3.
        """
        from tokenizers import Tokenizer

        if context < 3:
            raise CtgiError(f"context {context}: a text needs at least 3 positions (start, one token, end)")
        if not Path(path).is_file():
            raise CtgiError(f"{path}: no tokenizer there; a release folder holds tokenizer.json")
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise CtgiError(f"{path}: not a tokenizer ({error}); export the release again") from error
        self.context = context
        self._tokenizer.enable_truncation(max_length=context)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of every text, unpadded, each between 2 and `context` long."""
        return [item.ids for item in self._tokenizer.encode_batch([clean_text(text) for text in texts])]

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Ids int64 (N, L), padded with 0 behind the end token to the longest text."""
        return pad(self.encode(texts))


def pad(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Rows of ids as one int64 array, 0 behind each row's end (id 0 is also a bare "!": never mask by it)."""
    out = np.zeros((len(rows), max((len(row) for row in rows), default=0)), dtype=np.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return out
