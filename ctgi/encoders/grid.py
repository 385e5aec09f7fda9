"""The vision tower's positions, from CLIP's square grid to a person's tall one."""

from __future__ import annotations

from torch import Tensor, cat
from torch.nn import functional


def resize_grid(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize a positional table (1 + old_h * old_w, width) to (1 + new_h * new_w, width).

    The class row is copied. The grid, rows first, is interpolated bilinearly with align_corners=False and no
    antialiasing, as IRRA does (14x14 -> 24x8 for ViT-B/16 at 384x128).
    """
    if table.shape[0] != 1 + old[0] * old[1]:
        raise ValueError(f"{table.shape[0]} positions are not one class row and a {old[0]}x{old[1]} grid")
    if old == new:
        return table
    grid = table[1:].reshape(1, old[0], old[1], -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=new, mode="bilinear", align_corners=False)
    return cat([table[:1], grid.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)])
