"""Solids against an independent computation: every pixel's ray, one after another, in float64.

The reference walks each shape's definition: it finds where the ray crosses the implicit surface by the
quadratic formula in world coordinates of the solid, one scalar at a time, and keeps the hit nearest to the
viewer. It shares no code with the renderer.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from demo.pedestrians.solids import Solid, Surface, draw

HEIGHT, WIDTH, SCALE = 24, 20, 7.0
CENTRE = (WIDTH / 2, HEIGHT / 2)
EDGE = 0.02  # rays that pass this close to an outline, in canonical units, may fall on either side in float32


def roots(a: float, b: float, c: float) -> list[float]:
    """Real solutions of a t² + b t + c = 0."""
    if abs(a) < 1e-12:
        return [] if abs(b) < 1e-12 else [-c / b]
    under = b * b - 4 * a * c
    return [] if under < 0 else [(-b + sign * math.sqrt(under)) / (2 * a) for sign in (1, -1)]


def hits(shape: str, taper: float, p: NDArray[np.float64], d: NDArray[np.float64]) -> list[float]:
    """Every t at which the ray p + t d meets the surface of the canonical solid."""
    (px, py, pz), (dx, dy, dz) = p.tolist(), d.tolist()
    found: list[float] = []
    if shape == "ball":
        return roots(
            dx * dx + dy * dy + dz * dz, 2 * (px * dx + py * dy + pz * dz), px * px + py * py + pz * pz - 1
        )
    if shape == "cone":
        r0, r1 = 1 + taper * py, taper * dy
        side = roots(
            dx * dx + dz * dz - r1 * r1, 2 * (px * dx + pz * dz - r0 * r1), px * px + pz * pz - r0 * r0
        )
        found += [t for t in side if 0 <= py + t * dy <= 1]
        for level in (0.0, 1.0):
            if abs(dy) > 1e-12:
                t = (level - py) / dy
                if (px + t * dx) ** 2 + (pz + t * dz) ** 2 <= (1 + taper * level) ** 2:
                    found.append(t)
        return found
    for axis in range(3):
        for face in (-1.0, 1.0):
            if abs(d[axis]) > 1e-12:
                t = (face - p[axis]) / d[axis]
                others = [i for i in range(3) if i != axis]
                if all(abs(p[i] + t * d[i]) <= 1 for i in others):
                    found.append(float(t))
    return found


def reference(solid: Solid, rotation: NDArray[np.float64], grow: float = 0.0) -> NDArray[np.float64]:
    """Depth of every pixel, -inf where the ray misses; ``grow`` swells the solid by a share of its size."""
    frame = rotation @ solid.frame * (1 + grow)
    origin = rotation @ solid.origin
    if solid.shape == "cone":  # a cone stands on its origin: swell it about its middle
        origin = origin - frame[:, 1] * grow / (1 + grow) / 2
    inverse = np.linalg.inv(frame)
    depth = np.full((HEIGHT, WIDTH), -np.inf)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y = (column + 0.5 - CENTRE[0]) / SCALE, (CENTRE[1] - row - 0.5) / SCALE
            start = inverse @ (np.array([x, y, 0.0]) - origin)
            met = hits(solid.shape, solid.taper, start, inverse[:, 2])
            depth[row, column] = max(met, default=-np.inf)
    return depth


def turned(x: float, y: float) -> NDArray[np.float64]:
    a = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    return a @ np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])


angles = st.floats(0.1, 1.4) | st.floats(-1.4, -0.1)


@pytest.mark.parametrize("shape", ["ball", "cone", "cube"])
@settings(max_examples=8, deadline=None)
@given(
    angles,
    angles,
    st.tuples(*[st.floats(0.4, 1.0)] * 3),
    st.floats(-0.6, 0.4),
    st.tuples(*[st.floats(-0.4, 0.4)] * 3),
)
def test_depth_is_that_of_the_nearest_hit(
    shape: str,
    x: float,
    y: float,
    sizes: tuple[float, ...],
    taper: float,
    origin: tuple[float, ...],
) -> None:
    solid = Solid(shape, np.array(origin), turned(-0.3, 0.5) @ np.diag(sizes), "p", "m", taper)
    rotation = turned(x, y)
    surface = Surface(HEIGHT, WIDTH)
    draw(surface, solid, 4, rotation, SCALE, CENTRE)
    true, inner, outer = (reference(solid, rotation, grow) for grow in (0.0, -EDGE, EDGE))
    surely, surely_not = np.isfinite(inner) & np.isfinite(true), ~np.isfinite(outer) & ~np.isfinite(true)
    assert surely.sum() > 10
    assert (surface.index[surely] == 4).all()
    assert (surface.index[surely_not] == -1).all()
    # Near the outline depth changes without bound along a pixel, so only clear hits are compared.
    np.testing.assert_allclose(surface.depth[surely], true[surely], atol=2e-3)
    # A hit lies on the pixel's ray, and its normal is of unit length and faces the viewer.
    rows, columns = np.nonzero(surely)
    world = surface.local[surely] @ (rotation @ solid.frame).T + rotation @ solid.origin
    np.testing.assert_allclose(world[:, 0], (columns + 0.5 - CENTRE[0]) / SCALE, atol=2e-3)
    np.testing.assert_allclose(world[:, 1], (CENTRE[1] - rows - 0.5) / SCALE, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(surface.normal[surely], axis=1), 1, atol=1e-4)
    assert (surface.normal[surely][:, 2] > -1e-3).all()


@pytest.mark.parametrize("shape", ["ball", "cone", "cube"])
def test_normals_stand_upright_on_the_surface(shape: str) -> None:
    """The normal at a pixel is that of the plane through neighbouring depths, where these are smooth."""
    solid = Solid(shape, np.zeros(3), np.diag((0.9, 1.1, 0.7)), "p", "m", -0.3)
    surface = Surface(96, 80)
    draw(surface, solid, 0, turned(0.4, 0.6), 28.0, (40, 48))
    depth = np.where(np.isfinite(surface.depth), surface.depth.astype(float), np.nan)
    along_x = (depth[1:-1, 2:] - depth[1:-1, :-2]) / 2 * 28
    along_y = (depth[:-2, 1:-1] - depth[2:, 1:-1]) / 2 * 28
    curved = np.abs(depth[1:-1, 2:] + depth[1:-1, :-2] - 2 * depth[1:-1, 1:-1]) * 28
    curved += np.abs(depth[2:, 1:-1] + depth[:-2, 1:-1] - 2 * depth[1:-1, 1:-1]) * 28
    smooth = curved < 0.2  # NaN, at the outline, is not smooth
    expected = np.stack([-along_x, -along_y, np.ones_like(along_x)], -1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    assert smooth.sum() > 500
    agree = (surface.normal[1:-1, 1:-1] * expected).sum(-1)[smooth]
    assert np.quantile(agree, 0.01) > 0.98


def test_the_nearer_solid_hides_the_farther_whichever_is_drawn_first() -> None:
    near = Solid("ball", np.array([0.0, 0.0, 1.0]), np.eye(3) * 0.5, "near", "m")
    far = Solid("cube", np.array([0.0, 0.0, -1.0]), np.eye(3), "far", "m")
    pictures = []
    for order in ([(near, 0), (far, 1)], [(far, 1), (near, 0)]):
        surface = Surface(HEIGHT, WIDTH)
        for solid, number in order:
            draw(surface, solid, number, np.eye(3), SCALE, CENTRE)
        pictures.append(surface)
    np.testing.assert_array_equal(pictures[0].index, pictures[1].index)
    np.testing.assert_array_equal(pictures[0].depth, pictures[1].depth)
    assert pictures[0].index[HEIGHT // 2, WIDTH // 2] == 0
    assert {0, 1} <= set(pictures[0].index.ravel().tolist())


def test_what_lies_outside_the_picture_draws_nothing() -> None:
    surface = Surface(HEIGHT, WIDTH)
    draw(surface, Solid("ball", np.array([50.0, 0, 0]), np.eye(3), "p", "m"), 0, np.eye(3), SCALE, CENTRE)
    assert (surface.index == -1).all() and not np.isfinite(surface.depth).any()
