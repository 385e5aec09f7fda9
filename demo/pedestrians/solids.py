"""Solids and the depth buffer they are drawn into, by exact ray casting under an orthographic camera.

Camera space: x to the right, y up, z towards the viewer, so the visible surface is the one with the
largest z. A solid is a canonical shape (unit ball, cone segment, cube) under an affine map; a ray through a
pixel is a line in the canonical frame, and its hit is the root of a quadratic there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass
class Solid:
    """``shape`` is "ball", "cone" (y in 0..1, radius 1 + ``taper`` * y) or "cube" (-1..1 on each axis).

    ``frame`` (3, 3) and ``origin`` (3,) map canonical to world coordinates. ``part`` names what it belongs
    to, ``material`` how it is painted.
    """

    shape: str
    origin: NDArray[np.float64]
    frame: NDArray[np.float64]
    part: str
    material: str
    taper: float = 0.0


@dataclass
class Surface:
    """What each pixel sees: depth, solid index (-1: nothing), normal and canonical hit point."""

    height: int
    width: int
    depth: Array = field(init=False)
    index: NDArray[np.int16] = field(init=False)
    normal: Array = field(init=False)
    local: Array = field(init=False)

    def __post_init__(self) -> None:
        self.depth = np.full((self.height, self.width), -np.inf, np.float32)
        self.index = np.full((self.height, self.width), -1, np.int16)
        self.normal = np.zeros((self.height, self.width, 3), np.float32)
        self.local = np.zeros((self.height, self.width, 3), np.float32)


_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def draw(
    surface: Surface,
    solid: Solid,
    number: int,
    rotation: NDArray[np.float64],
    scale: float,
    centre: tuple[float, float],
) -> None:
    """Cast the pixels that ``solid`` may cover and keep the hits nearer than what is there.

    ``rotation`` (3, 3) turns world into camera axes; ``scale`` is pixels per world unit; ``centre`` the pixel
    (column, row) of the world's origin.
    """
    origin = rotation @ solid.origin
    frame = rotation @ solid.frame
    corners = _CORNERS
    if solid.shape == "cone":
        wide = max(1.0, 1.0 + solid.taper)
        corners = _CORNERS * (wide, 0.5, wide) + (0, 0.5, 0)
    box = corners @ frame.T + origin
    left = max(int(centre[0] + scale * box[:, 0].min()) - 1, 0)
    right = min(int(centre[0] + scale * box[:, 0].max()) + 2, surface.width)
    top = max(int(centre[1] - scale * box[:, 1].max()) - 1, 0)
    bottom = min(int(centre[1] - scale * box[:, 1].min()) + 2, surface.height)
    if left >= right or top >= bottom:
        return
    inverse = np.linalg.inv(frame).astype(np.float32)
    x = ((np.arange(left, right) + 0.5 - centre[0]) / scale - origin[0]).astype(np.float32)
    y = ((centre[1] - np.arange(top, bottom) - 0.5) / scale - origin[1]).astype(np.float32)
    start = y[:, None, None] * inverse[:, 1] + x[None, :, None] * inverse[:, 0] - origin[2] * inverse[:, 2]
    direction = inverse[:, 2]
    depth, gradient = _CAST[solid.shape](start.astype(np.float32), direction, np.float32(solid.taper))
    area = (slice(top, bottom), slice(left, right))
    nearer = depth > surface.depth[area]
    if not nearer.any():
        return
    hit = start[nearer] + depth[nearer, None] * direction
    normal = gradient(hit) @ inverse
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    surface.depth[area][nearer] = depth[nearer]
    surface.index[area][nearer] = number
    surface.normal[area][nearer] = normal
    surface.local[area][nearer] = hit


def _cast_ball(start: Array, direction: Array, _taper: np.float32):  # type: ignore[no-untyped-def]
    a = direction @ direction
    b = start @ direction
    c = np.einsum("ijk,ijk->ij", start, start) - 1
    root = b * b - a * c
    depth = np.where(root >= 0, (-b + np.sqrt(np.maximum(root, 0))) / a, -np.inf)
    return depth, lambda hit: hit


def _cast_cone(start: Array, direction: Array, taper: np.float32):  # type: ignore[no-untyped-def]
    dx, dy, dz = direction
    ax, ay, az = start[..., 0], start[..., 1], start[..., 2]
    radius = 1 + taper * ay
    a = dx * dx + dz * dz - taper * taper * dy * dy
    if abs(a) < 1e-6:
        a = np.float32(1e-6)
    b = ax * dx + az * dz - taper * radius * dy
    c = ax * ax + az * az - radius * radius
    root = b * b - a * c
    spread = np.sqrt(np.maximum(root, 0))
    depth = np.full(b.shape, -np.inf, np.float32)
    for candidate in ((-b + spread) / a, (-b - spread) / a):
        level = ay + candidate * dy
        good = (root >= 0) & (level >= 0) & (level <= 1) & (candidate > depth)
        depth = np.where(good, candidate, depth)
    if abs(dy) > 1e-6:
        for end in (0.0, 1.0):
            candidate = (end - ay) / dy
            across = (ax + candidate * dx) ** 2 + (az + candidate * dz) ** 2
            depth = np.where((across <= (1 + taper * end) ** 2) & (candidate > depth), candidate, depth)

    def gradient(hit: Array) -> Array:
        result = np.stack([hit[:, 0], -taper * (1 + taper * hit[:, 1]), hit[:, 2]], 1)
        reach = hit[:, 0] ** 2 + hit[:, 2] ** 2
        inside = reach < (1 + taper * hit[:, 1]) ** 2 * 0.98
        result[inside] = np.where(hit[inside, 1:2] > 0.5, 1.0, -1.0) * np.array((0, 1, 0), np.float32)
        return result

    return depth, gradient


def _cast_cube(start: Array, direction: Array, _taper: np.float32):  # type: ignore[no-untyped-def]
    safe = np.where(np.abs(direction) < 1e-6, np.float32(1e-6), direction)
    one = (1 - start) / safe
    other = (-1 - start) / safe
    far = np.maximum(one, other).min(axis=2)
    near = np.minimum(one, other).max(axis=2)
    depth = np.where(far >= near, far, -np.inf)

    def gradient(hit: Array) -> Array:
        axis = np.abs(hit).argmax(axis=1)
        result = np.zeros_like(hit)
        rows = np.arange(len(hit))
        result[rows, axis] = np.sign(hit[rows, axis])
        return result

    return depth, gradient


_CAST = {"ball": _cast_ball, "cone": _cast_cone, "cube": _cast_cube}
