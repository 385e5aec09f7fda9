"""Positional embedding stretching (PES), 77 to 248 positions: Sec. 3.2 of the paper.

`stretch_positions` does what the released Long-CLIP code does, which is what the paper means.
`equation_4_as_printed` is the paper's Eq. 4 to the letter, kept as an erratum so that a test can show what
it would do; nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

KEPT = 20
RATIO = 4


def stretched_length(length: int, kept: int = KEPT, ratio: int = RATIO) -> int:
    """Positions after stretching: `kept` stay, the others become `ratio` each (77 -> 248)."""
    return kept + (length - kept) * ratio


def stretch_positions(table: Tensor, kept: int = KEPT, ratio: int = RATIO) -> Tensor:
    """Stretch a positional table (L, width) to (kept + (L - kept) * ratio, width), same dtype.

    The first `kept` rows, the best trained ones, stay. Counting rows from 0, row p >= kept lies at
    kept + (p - kept) / ratio in the old table and is interpolated linearly between its two neighbours there.
    The last ratio - 1 rows lie beyond the old table's end and are extrapolated from its last two rows.

    Source: Long-CLIP, `load_from_clip`, in closed form.
    """
    length = table.shape[0]
    if not 0 <= kept < length - 1 or ratio < 1:
        raise ValueError(f"cannot keep {kept} of {length} rows and stretch the rest {ratio} times")
    offset = torch.arange((length - kept) * ratio, device=table.device)
    below = kept + offset // ratio
    alpha = ((offset % ratio).to(table.dtype) / ratio).unsqueeze(1)
    # At the end there is no row above: go on in the direction of the last step.
    start = below.clamp(max=length - 2)
    step = table[start + 1] - table[start]
    inner = (1 - alpha) * table[start] + alpha * table[start + 1]
    beyond = table[below] + alpha * step
    return torch.cat([table[:kept], torch.where((below > length - 2).unsqueeze(1), beyond, inner)])


def equation_4_as_printed(table: Tensor, kept: int = KEPT, ratio: int = RATIO) -> Tensor:
    """Erratum: Eq. 4 taken literally over the whole new range. Do not use it to stretch a model.

    Positions count from 1. Eq. 4 states its second case for 21 <= pos <= 77 only, divides pos rather than
    pos - 21 by lambda, and takes alpha from pos - 20. Literally, position 21 comes from rows 5 and 6, so the
    table jumps back at the seam, and rows 63 to 77 are never used. lambda is exactly 4.
    """
    rows = [table[position - 1] for position in range(1, kept + 1)]
    for position in range(kept + 1, stretched_length(table.shape[0], kept, ratio) + 1):
        alpha = ((position - kept) % ratio) / ratio
        floor, ceil = position // ratio, -(-position // ratio)
        rows.append((1 - alpha) * table[floor - 1] + alpha * table[ceil - 1])
    return torch.stack(rows)
