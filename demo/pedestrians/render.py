"""A person and a view become a picture, and what of the person can be seen in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from demo.pedestrians import belongings, clothes
from demo.pedestrians.attributes import Person
from demo.pedestrians.body import Pose, bare_body, hair, head_centre, strike
from demo.pedestrians.camera import View
from demo.pedestrians.paint import albedo, logo_area, palette
from demo.pedestrians.parts import PARTS
from demo.pedestrians.solids import Solid, Surface, draw
from demo.pedestrians.visibility import visible_truth

__all__ = ["HEIGHT", "PARTS", "WIDTH", "render", "render_parts"]

HEIGHT, WIDTH = 384, 128
_FIGURE_HEIGHT = 1.88
_SCENE_SCALE = 4


def render(person: Person, view: View) -> tuple[NDArray[np.uint8], dict[str, str | None]]:
    """Draw ``person`` as ``view`` sees them.

    Returns the picture, uint8 (384, 128, 3), and the visible truth: attribute -> its value, or
    "cannot tell" where the place is hidden, or None where there is no such thing or it can only be guessed.
    """
    picture, visible, _ = render_parts(person, view)
    return picture, visible


def render_parts(
    person: Person, view: View
) -> tuple[NDArray[np.uint8], dict[str, str | None], NDArray[np.uint8]]:
    """As ``render``, with the part (index into ``PARTS``) that each pixel belongs to, uint8 (384, 128)."""
    rng = np.random.default_rng(view.seed)
    pose = strike(person, view.phase)
    solids: list[Solid] = [
        *bare_body(person, pose), *hair(person, pose), *clothes.lower_garment(person, pose),
        *clothes.upper_garment(person, pose), *clothes.shoes(person, pose), *clothes.scarf(person, pose),
        *clothes.hat(person, pose), *clothes.glasses(person, pose), *belongings.bag(person, pose),
        *belongings.held(person, pose),
    ]  # fmt: skip
    surface = Surface(HEIGHT, WIDTH)
    rotation = _rotation(view)
    scale = view.height * HEIGHT / _FIGURE_HEIGHT * min(person.stature, 1.0)
    centre = (WIDTH * (0.5 + view.shift[0]), HEIGHT * (0.5 + view.height / 2 * 0.985 + view.shift[1]))
    for number, solid in enumerate(solids):
        draw(surface, solid, number, rotation, scale, centre)

    colours = palette(person, rng)
    base = albedo(surface, solids, person, colours)
    light = np.array(view.light, np.float32)
    lambert = np.clip(surface.normal @ light, 0, 1)
    facing = np.clip(surface.normal[..., 2], 0, 1)
    shade = view.ambient + (1 - view.ambient) * lambert - 0.18 * (1 - facing) ** 2
    image = _scene(rng)
    _shadow(image, centre, scale, rng)
    seen = surface.index >= 0
    image[seen] = np.clip(base[seen] * shade[seen, None], 0, 1)

    part_of = np.array([PARTS.index(solid.part) for solid in solids], np.uint8)
    parts = np.zeros((HEIGHT, WIDTH), np.uint8)
    parts[seen] = part_of[surface.index[seen]]
    chest_area = logo_area(surface, solids) > 0
    eye_area = _eye_area(surface, solids, pose)
    hidden = _occlude(image, view.occluder, rng)
    parts[hidden] = 0
    chest_area &= ~hidden
    eye_area &= ~hidden

    image = image * view.exposure * np.array(view.tint, np.float32)
    image = gaussian_filter(image, (view.blur, view.blur, 0))
    image += rng.normal(0, view.noise, image.shape).astype(np.float32)
    picture = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return picture, visible_truth(person, parts, int(chest_area.sum()), int(eye_area.sum())), parts


def _rotation(view: View) -> NDArray[np.float64]:
    """World to camera axes: turn about y by the yaw, then look down by the pitch."""
    c, s = np.cos(view.yaw), np.sin(view.yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(view.pitch), np.sin(view.pitch)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ turn


def _eye_area(surface: Surface, solids: list[Solid], pose: Pose) -> NDArray[np.bool_]:
    """Pixels where glasses would sit: a band across the front of the head."""
    centre = head_centre(pose)
    area = np.zeros(surface.index.shape, bool)
    for number, solid in enumerate(solids):
        if solid.part not in ("face", "glasses"):
            continue
        mask = surface.index == number
        if mask.any():
            world = surface.local[mask] @ solid.frame.T.astype(np.float32) + solid.origin.astype(np.float32)
            offset = world - centre.astype(np.float32)
            area[mask] = (np.abs(offset[:, 1] - 0.022) < 0.04) & (offset[:, 2] > 0.06)
    return area


def _scene(rng: np.random.Generator) -> NDArray[np.float32]:
    """A blurred street, drawn small, then enlarged: a wall with a few blocks, and ground below a horizon."""
    height, width = HEIGHT // _SCENE_SCALE, WIDTH // _SCENE_SCALE
    image = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.62, 0.86))
    image[:horizon] = _muted(rng)
    image[horizon:] = _muted(rng)
    for _ in range(int(rng.integers(0, 6))):
        left, top = int(rng.integers(-6, width)), int(rng.integers(-10, horizon))
        wide, tall = int(rng.integers(3, 24)), int(rng.integers(5, 56))
        image[max(top, 0) : min(top + tall, horizon + 6), max(left, 0) : left + wide] = _muted(rng)
    image += rng.normal(0, 0.02, image.shape).astype(np.float32)
    blur = float(rng.uniform(0.2, 1.3))
    image = gaussian_filter(image, (blur, blur, 0))
    small = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR), np.float32) / 255


def _muted(rng: np.random.Generator) -> NDArray[np.float32]:
    grey = rng.uniform(0.18, 0.88)
    return np.clip(grey + rng.normal(0, 0.06, 3), 0.05, 0.98).astype(np.float32)


def _shadow(
    image: NDArray[np.float32], centre: tuple[float, float], scale: float, rng: np.random.Generator
) -> None:
    y, x = np.arange(HEIGHT, dtype=np.float32)[:, None], np.arange(WIDTH, dtype=np.float32)
    slant = rng.uniform(-0.3, 0.3)
    distance = ((x - centre[0] - slant * scale * 0.4) / (0.33 * scale)) ** 2 + (
        (y - centre[1] + 4) / (0.055 * scale)
    ) ** 2
    image *= (1 - 0.45 * np.exp(-distance))[..., None]


def _occlude(image: NDArray[np.float32], kind: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Put something in front of the person; returns the pixels it hides."""
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    if kind == "bar":
        row, thick = int(rng.integers(HEIGHT * 0.45, HEIGHT * 0.75)), int(rng.integers(8, 20))
        hidden[row : row + thick] = True
    elif kind == "low wall":
        hidden[int(HEIGHT * rng.uniform(0.74, 0.9)) :] = True
    elif kind == "pole":
        column, thick = int(rng.integers(15, WIDTH - 15)), int(rng.integers(6, 14))
        hidden[:, column : column + thick] = True
    image[hidden] = _muted(rng) * 0.85
    return hidden
