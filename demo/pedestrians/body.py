"""The skeleton of a person in a pose, and the solids of the bare body: skin, face, hair.

World axes: x to the person's left, y up from the ground, z to the front; the figure is about 1.8 tall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.pedestrians.attributes import Person
from demo.pedestrians.solids import Solid

Point = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Joints in world coordinates; ``[0]`` is the person's left, ``[1]`` the right."""

    shoulder: tuple[Point, Point]
    elbow: tuple[Point, Point]
    hand: tuple[Point, Point]
    hip: tuple[Point, Point]
    knee: tuple[Point, Point]
    ankle: tuple[Point, Point]
    foot_pitch: tuple[float, float]
    shoulder_width: float
    waist_width: float
    hip_width: float


def ball(
    centre: Sequence[float] | Point,
    radii: Sequence[float],
    part: str,
    material: str | None = None,
    turn: float = 0.0,
) -> Solid:
    """An ellipsoid; ``turn`` tips it about the x axis, in radians."""
    frame = tip(turn) @ np.diag(radii)
    return Solid("ball", np.asarray(centre, float), frame, part, material or part)


def box(
    centre: Sequence[float] | Point,
    half: Sequence[float],
    part: str,
    material: str | None = None,
    turn: float = 0.0,
) -> Solid:
    """A box of half sides ``half``; ``turn`` tips it about the x axis."""
    return Solid("cube", np.asarray(centre, float), tip(turn) @ np.diag(half), part, material or part)


def limb(
    start: Sequence[float] | Point,
    end: Sequence[float] | Point,
    radius: float,
    end_radius: float,
    part: str,
    material: str | None = None,
    flat: float = 1.0,
) -> Solid:
    """A cone segment from ``start`` to ``end``; ``flat`` scales its depth (front to back)."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    side = np.cross(along, (0.0, 0.0, 1.0))
    if np.linalg.norm(side) < 1e-6:
        side = np.array((1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    if side[0] < 0:
        side = -side
    depth = np.cross(side, along / np.linalg.norm(along))
    if depth[2] < 0:
        depth = -depth
    frame = np.stack([side * radius, along, depth * radius * flat], axis=1)
    return Solid("cone", start, frame, part, material or part, taper=end_radius / radius - 1)


def tip(angle: float) -> NDArray[np.float64]:
    """Rotation about the x axis that carries y towards z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _down(swing: float, spread: float = 0.0) -> Point:
    return np.array([np.sin(spread), -np.cos(swing) * np.cos(spread), np.sin(swing)])


def strike(person: Person, phase: float) -> Pose:
    """Put the skeleton into the person's action at a moment ``phase`` (radians) of its gait."""
    look = person.attributes
    woman = look["gender"] == "woman"
    girth = person.build
    shoulder_width = (0.145 if woman else 0.22) * girth
    hip_width = (0.105 if woman else 0.09) * girth
    action = look["action"]
    stride = np.sign(np.sin(phase) + 1e-9) * (0.65 + 0.35 * abs(np.sin(phase)))
    swing, lift, arm_swing, elbow_bend, lean = {
        "standing": (0.03, 0.0, 0.02, 0.12, 0.0),
        "waving": (0.03, 0.0, 0.02, 0.12, 0.0),
        "walking": (0.55, 0.5, 0.55, 0.35, 0.02),
        "running": (0.85, 1.5, 0.7, 1.6, 0.2),
    }[action]
    apart = 0.16 if action in ("standing", "waving") else 0.02
    if "skirt" in look["lower_type"]:
        swing, lift = swing * 0.65, lift * 0.7
    shoulder, elbow, hand, hip, knee, ankle, pitch = [], [], [], [], [], [], []
    for side, sign in ((0, 1.0), (1, -1.0)):
        way = sign * stride
        hip.append(np.array([sign * hip_width, 0.92, 0.0]))
        thigh = swing * way
        bend = lift * (0.95 if way < 0 else 0.25)
        knee.append(hip[side] + 0.44 * _down(thigh, sign * apart * 0.6))
        ankle.append(knee[side] + 0.40 * _down(thigh - bend, sign * apart * 0.4))
        pitch.append(float(thigh - bend) * 0.7)
        shoulder.append(np.array([sign * shoulder_width, 1.43 - lean * 0.05, lean * 0.5]))
        arm = -arm_swing * way
        upper = _down(arm, sign * 0.16)
        fore = _down(arm + elbow_bend, sign * 0.10)
        if side == 1 and look["held"] in ("phone", "book", "bottle"):
            upper, fore = (
                _down(0.1, sign * 0.2),
                _down(1.75 if look["held"] != "bottle" else 1.5, sign * -0.25),
            )
        if side == 0 and action == "waving":
            upper, fore = np.array([0.42, 0.32, 0.45]), np.array([-0.08, 0.95, 0.1])
        elbow.append(shoulder[side] + 0.28 * upper / np.linalg.norm(upper))
        hand.append(elbow[side] + 0.27 * fore / np.linalg.norm(fore))
    ground = min(point[1] for point in ankle) - 0.08
    drop = np.array([0.0, ground, 0.0])
    return Pose(
        *(tuple(point - drop for point in joints) for joints in (shoulder, elbow, hand, hip, knee, ankle)),  # type: ignore[arg-type]
        foot_pitch=(pitch[0], pitch[1]),
        shoulder_width=shoulder_width,
        waist_width=(0.105 if woman else 0.155) * girth,
        hip_width=(0.182 if woman else 0.142) * girth,
    )


def chest(pose: Pose) -> Point:
    """The point between the shoulders: garments, head and bags hang from it."""
    return (pose.shoulder[0] + pose.shoulder[1]) / 2


def head_centre(pose: Pose) -> Point:
    return chest(pose) + np.array([0.0, 0.235, 0.02])


def bare_body(person: Person, pose: Pose) -> list[Solid]:
    """Skin of arms and legs, neck and head with a face."""
    top = chest(pose)
    head = head_centre(pose)
    bare_thighs = "skirt" not in person.attributes["lower_type"]
    solids = [
        limb(top + (0, -0.02, 0), top + (0, 0.16, 0.01), 0.055, 0.05, "skin"),
        ball(head, (0.098, 0.135, 0.115), "face"),
        ball(head + (0, -0.015, 0.118), (0.018, 0.03, 0.02), "face"),
        ball(head + (0, -0.065, 0.10), (0.035, 0.011, 0.02), "face", "lips"),
    ]
    for side, sign in ((0, 1.0), (1, -1.0)):
        solids += [
            ball(head + (sign * 0.038, 0.022, 0.102), (0.016, 0.011, 0.014), "face", "eye"),
            limb(pose.shoulder[side], pose.elbow[side], 0.05, 0.042, "skin"),
            limb(pose.elbow[side], pose.hand[side], 0.042, 0.034, "skin"),
            ball(pose.hand[side], (0.042, 0.055, 0.042), "skin"),
            limb(
                pose.hip[side] if bare_thighs else pose.knee[side] + (0, 0.05, 0),
                pose.knee[side],
                0.085 if bare_thighs else 0.062,
                0.06,
                "skin",
            ),
            limb(pose.knee[side], pose.ankle[side], 0.058, 0.04, "skin"),
        ]
    return solids


def hair(person: Person, pose: Pose) -> list[Solid]:
    """A cap of hair, longer at the back and in two strands beside the face as it grows longer."""
    head = head_centre(pose)
    solids = [
        ball(head + (0, 0.035, -0.025), (0.113, 0.125, 0.118), "hair"),
        ball(head + (0, 0.095, 0.03), (0.095, 0.055, 0.085), "hair"),
    ]
    length = person.attributes["hair_length"]
    if length == "short":
        return solids
    ends = -0.19 if length == "shoulder-length" else -0.58
    solids.append(
        limb(
            head + (0, 0.06, -0.055),
            head + (0, ends, -0.125),
            0.118,
            0.125 if length == "long" else 0.14,
            "hair",
            flat=0.5,
        )
    )
    for sign in (1.0, -1.0):
        solids.append(
            limb(
                head + (sign * 0.098, 0.05, 0.0),
                head + (sign * 0.125, ends + 0.02, 0.06),
                0.035,
                0.045,
                "hair",
            )
        )
    return solids
