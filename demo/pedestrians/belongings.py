"""Bags and things held in the right hand."""

from __future__ import annotations

import numpy as np

from demo.pedestrians.attributes import Person
from demo.pedestrians.body import Pose, ball, box, chest, limb
from demo.pedestrians.solids import Solid


def bag(person: Person, pose: Pose) -> list[Solid]:
    """A backpack shows its straps from the front, a shoulder bag its strap from both sides."""
    kind = person.attributes["bag_type"]
    top = chest(pose)
    loose = {"coat": 1.14, "jacket": 1.1, "hoodie": 1.12}.get(person.attributes["upper_type"], 1.0)
    front = pose.shoulder_width * 0.62 * loose
    if kind == "backpack":
        solids = [
            ball(top + (0, -0.20, -front - 0.085), (0.175, 0.235, 0.115), "bag"),
            ball(top + (0, -0.27, -front - 0.17), (0.11, 0.10, 0.06), "bag", "bag dark"),
        ]
        for sign in (1.0, -1.0):
            x = sign * pose.shoulder_width * 0.60
            solids += [
                limb(top + (x, 0.055, -0.04), top + (x, -0.04, front + 0.012), 0.044, 0.044, "bag", flat=0.6),
                limb(
                    top + (x, -0.02, front + 0.01),
                    top + (x * 1.15, -0.33, front * 0.8),
                    0.044,
                    0.044,
                    "bag",
                    flat=0.6,
                ),
            ]
        return solids
    if kind == "shoulder bag":
        hip = np.array([pose.hip_width * loose + 0.07, -0.50, 0.02])
        near, far = top + (-pose.shoulder_width * 0.55, 0.045, 0.0), top + hip + (-0.05, 0.14, 0.0)
        solids = [
            box(top + hip, (0.075, 0.12, 0.15), "bag"),
            box(top + hip + (0.005, 0.06, 0), (0.08, 0.05, 0.155), "bag", "bag dark"),
        ]
        for way in (1.0, -1.0):
            bulge = np.array([0.0, -0.02, way * (front + 0.03)])
            middle = 0.55 * near + 0.45 * far + bulge
            solids += [
                limb(near + (0, 0.01, way * 0.02), middle, 0.026, 0.026, "bag"),
                limb(middle, far + (0, 0, way * 0.05), 0.026, 0.026, "bag"),
            ]
        return solids
    if kind == "handbag":
        waving = person.attributes["action"] == "waving"
        grip = pose.elbow[0] if waving else pose.hand[0]
        body = grip + (0.05, -0.25, 0.02)
        return [
            limb(body + (0, -0.12, 0), body + (0, 0.09, 0), 0.17, 0.13, "bag", flat=0.75),
            limb(grip + (0, 0.01, 0.05), body + (0, 0.09, 0.06), 0.014, 0.014, "bag", "bag dark"),
            limb(grip + (0, 0.01, -0.05), body + (0, 0.09, -0.06), 0.014, 0.014, "bag", "bag dark"),
        ]
    return []


def held(person: Person, pose: Pose) -> list[Solid]:
    hand = pose.hand[1]
    kind = person.attributes["held"]
    if kind == "phone":
        return [
            box(hand + (-0.02, 0.08, 0.045), (0.066, 0.125, 0.014), "held", "phone", turn=-0.25),
            box(hand + (-0.02, 0.082, 0.030), (0.054, 0.105, 0.006), "held", "screen", turn=-0.25),
            box(hand + (-0.02, 0.082, 0.060), (0.03, 0.03, 0.006), "held", "screen", turn=-0.25),
        ]
    if kind == "umbrella":
        tip_point = hand + (-0.05, -0.50, 0.12)
        return [
            limb(hand + (0, -0.06, 0.01), tip_point, 0.07, 0.02, "held", "umbrella"),
            limb(hand + (0, 0.16, -0.03), hand + (0, -0.06, 0.01), 0.014, 0.014, "held", "wood"),
            ball(hand + (0, 0.17, 0.0), (0.02, 0.025, 0.045), "held", "wood"),
        ]
    if kind == "bottle":
        base = hand + (0, -0.08, 0.04)
        return [
            limb(base, base + (0, 0.22, 0), 0.056, 0.056, "held", "water"),
            limb(base + (0, 0.22, 0), base + (0, 0.29, 0), 0.052, 0.024, "held", "water"),
            limb(base + (0, 0.28, 0), base + (0, 0.34, 0), 0.032, 0.032, "held", "cap"),
        ]
    if kind == "book":
        return [
            box(hand + (-0.03, 0.10, 0.05), (0.135, 0.165, 0.026), "held", "cover", turn=-0.3),
            box(hand + (-0.03, 0.10, 0.046), (0.120, 0.150, 0.030), "held", "paper", turn=-0.3),
        ]
    return []
