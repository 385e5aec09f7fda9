"""How a camera sees a person: direction, pose and gait, light, tint, scale, blur, occlusion, background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Name of the view -> centre of its range of yaw, in degrees; 0 looks the person in the face.
VIEWS: dict[str, tuple[float, ...]] = {
    "front": (0.0,),
    "three-quarter": (-40.0, 40.0),
    "side": (-85.0, 85.0),
    "back": (180.0,),
    "back three-quarter": (-140.0, 140.0),
}
_VIEW_WEIGHTS = (0.28, 0.28, 0.14, 0.16, 0.14)


@dataclass(frozen=True)
class View:
    """One look of one camera at a person. Angles in radians, lengths as a share of the picture's height.

    ``seed`` drives what has no name of its own: the background, the noise and the shape of an occluder.
    """

    name: str
    yaw: float
    pitch: float
    height: float
    shift: tuple[float, float]
    phase: float
    light: tuple[float, float, float]
    ambient: float
    exposure: float
    tint: tuple[float, float, float]
    blur: float
    noise: float
    occluder: str
    seed: int


def sample_view(rng: np.random.Generator, name: str | None = None) -> View:
    """Draw a view; ``name`` fixes the direction (a key of ``VIEWS``), everything else stays random."""
    if name is None:
        name = str(rng.choice(list(VIEWS), p=_VIEW_WEIGHTS))
    yaw = float(rng.choice(VIEWS[name])) + float(rng.uniform(-14, 14))
    light = rng.normal((0.0, 0.5, 0.9), (0.6, 0.2, 0.2))
    light /= np.linalg.norm(light)
    warmth = float(rng.normal(0, 0.035))
    return View(
        name=name,
        yaw=float(np.deg2rad(yaw)),
        pitch=float(np.deg2rad(rng.uniform(0, 14))),
        height=float(rng.uniform(0.84, 0.95)),
        shift=(float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.012, 0.012))),
        phase=float(rng.uniform(0, 2 * np.pi)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        ambient=float(rng.uniform(0.45, 0.65)),
        exposure=float(rng.uniform(0.8, 1.12)),
        tint=(1 + warmth, 1 + float(rng.normal(0, 0.012)), 1 - warmth),
        blur=float(rng.uniform(0.2, 1.1)),
        noise=float(rng.uniform(0.005, 0.025)),
        occluder=str(rng.choice(["none", "bar", "low wall", "pole"], p=[0.8, 0.06, 0.08, 0.06])),
        seed=int(rng.integers(2**31)),
    )
