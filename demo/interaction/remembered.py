"""Texts are embedded once: settings tried on val refine queries to the same texts again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def remembered(encode: Encode) -> Encode:
    """``encode`` with a memory."""
    known: dict[str, NDArray[np.float32]] = {}

    def of(texts: Sequence[str]) -> NDArray[np.float32]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    return of
