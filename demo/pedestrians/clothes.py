"""Garments as shells around the body: upper and lower garment, shoes, scarf, hat, glasses."""

from __future__ import annotations

import numpy as np

from demo.pedestrians.attributes import Person
from demo.pedestrians.body import Pose, ball, box, chest, head_centre, limb
from demo.pedestrians.solids import Solid

_HEM = {"t-shirt": 0.92, "shirt": 0.79, "hoodie": 0.87, "jacket": 1.02, "coat": 0.60}
_SKIRT_LENGTH = {"skirt": 0.50, "long skirt": 0.70}
_SKIRT_FLARE = {"skirt": 1.3, "long skirt": 1.45}


def upper_garment(person: Person, pose: Pose) -> list[Solid]:
    """Torso, sleeves and what tells one kind of garment from another from every side."""
    look = person.attributes
    kind = look["upper_type"]
    top = chest(pose)
    ground = top[1] - 1.43
    waist = np.array([0.0, 1.12 + ground, top[2] * 0.4])
    hem = np.array([0.0, _HEM[kind] + ground, 0.0])
    loose = {"coat": 1.14, "jacket": 1.1, "hoodie": 1.12}.get(kind, 1.0)
    broad, narrow, hips = pose.shoulder_width * 0.95 * loose, pose.waist_width * loose, pose.hip_width * loose
    deep = 0.62
    hem_width = narrow + (hips - narrow) * min((waist[1] - hem[1]) / 0.25, 1.2)
    hem_flat = deep + 0.08
    lower = look["lower_type"]
    if lower in _SKIRT_LENGTH and hem[1] - ground < 0.94:
        # A garment that reaches below the hips hangs over the skirt, and a skirt is round.
        down = (0.94 - hem[1] + ground) / (_SKIRT_LENGTH[lower] + 0.02)
        hem_width = max(hem_width, pose.hip_width * (0.98 + (_SKIRT_FLARE[lower] - 0.98) * down) * 1.06)
        hem_flat = 1.02
    elif kind == "coat":
        hem_width, hem_flat = hips * 1.3, 0.95
    solids = [
        limb(waist, top + (0, -0.01, 0), narrow, broad, "upper", flat=deep),
        limb(waist, hem, narrow, hem_width, "upper", flat=hem_flat),
        ball(top + (0, -0.005, 0), (broad, 0.055, broad * deep), "upper"),
    ]
    if look["gender"] == "woman":
        solids += [
            ball(top + (s * 0.065, -0.14, broad * deep * 0.78), (0.07, 0.07, 0.06), "upper") for s in (1, -1)
        ]
    long_sleeves = look["sleeves"] == "long"
    for side in (0, 1):
        shoulder, elbow, hand = pose.shoulder[side], pose.elbow[side], pose.hand[side]
        thick = 0.066 * loose
        solids.append(ball(shoulder + (0, -0.01, 0), (thick + 0.004, thick, thick), "sleeve", "upper"))
        if long_sleeves:
            solids += [
                limb(shoulder, elbow, thick, 0.056 * loose, "sleeve", "upper"),
                limb(elbow, hand, 0.056 * loose, 0.047 * loose, "sleeve", "upper"),
            ]
            cuff_from, cuff_to, cuff_width = elbow + 0.86 * (hand - elbow), hand, 0.053 * loose
        else:
            end = shoulder + 0.72 * (elbow - shoulder)
            solids.append(limb(shoulder, end, thick, thick * 1.08, "sleeve", "upper"))
            cuff_from, cuff_to, cuff_width = shoulder + 0.62 * (elbow - shoulder), end, thick * 1.13
        if kind in ("shirt", "jacket"):
            solids.append(limb(cuff_from, cuff_to, cuff_width, cuff_width, "sleeve", "trim"))
        if kind == "hoodie":
            solids.append(limb(cuff_from, cuff_to, cuff_width, cuff_width, "sleeve", "upper dark"))
    front = broad * deep
    if kind == "shirt":
        # Collar and yoke show from every side that it is a shirt, the button band only from the front.
        solids.append(limb(top + (0, 0.01, 0), top + (0, 0.09, 0.005), 0.115, 0.085, "upper", "trim"))
        solids.append(ball(top + (0, 0.012, 0), (broad * 1.02, 0.05, broad * deep * 1.04), "upper", "trim"))
        solids.append(box(top + (0, -0.22, front * 0.86), (0.024, 0.22, 0.03), "upper", "trim"))
        solids.append(
            limb(hem, hem + (0, 0.03, 0), hem_width * 1.02, hem_width * 1.01, "upper", "trim", flat=hem_flat)
        )
    elif kind == "hoodie":
        solids.append(ball(top + (0, 0.03, -0.13), (0.155, 0.15, 0.10), "upper", "upper dark"))
        solids.append(limb(top + (0, 0.0, 0.0), top + (0, 0.08, -0.01), 0.135, 0.115, "upper", "upper dark"))
        solids += [
            limb(
                top + (s * 0.045, 0.03, 0.09),
                top + (s * 0.05, -0.19, front + 0.02),
                0.013,
                0.013,
                "upper",
                "cord",
            )
            for s in (1, -1)
        ]
        solids.append(
            limb(
                hem,
                hem + (0, 0.055, 0),
                hem_width * 1.05,
                hem_width * 1.03,
                "upper",
                "upper dark",
                flat=hem_flat + 0.02,
            )
        )
        solids.append(box(waist + (0, -0.05, narrow * 0.64), (0.10, 0.065, 0.05), "upper", "upper dark"))
    elif kind == "jacket":
        solids.append(
            limb(
                hem + (0, -0.015, 0),
                hem + (0, 0.055, 0),
                hem_width * 1.07,
                hem_width * 1.05,
                "upper",
                "trim",
                flat=deep + 0.1,
            )
        )
        solids.append(limb(top + (0, 0.0, 0), top + (0, 0.05, 0), 0.105, 0.10, "upper", "trim"))
        solids.append(box(top + (0, -0.20, front * 0.84), (0.042, 0.22, 0.03), "upper", "lining"))
    elif kind == "coat":
        solids.append(
            limb(
                waist + (0, -0.035, 0),
                waist + (0, 0.035, 0),
                narrow * 1.08,
                narrow * 1.08,
                "upper",
                "upper dark",
                flat=deep + 0.08,
            )
        )
        solids.append(
            limb(hem, hem + (0, 0.05, 0), hem_width * 1.02, hem_width, "upper", "upper dark", flat=hem_flat)
        )
        solids.append(limb(top + (0, -0.02, 0), top + (0, 0.09, 0), 0.15, 0.125, "upper", "upper dark"))
    return solids


def lower_garment(person: Person, pose: Pose) -> list[Solid]:
    """Trousers, shorts, or a skirt of one of two lengths."""
    kind = person.attributes["lower_type"]
    middle = (pose.hip[0] + pose.hip[1]) / 2
    top = middle + (0, 0.14, 0)
    solids = [limb(top, middle + (0, -0.06, 0), pose.waist_width * 0.97, pose.hip_width, "lower", flat=0.66)]
    if kind in _SKIRT_LENGTH:
        knees = (pose.knee[0] + pose.knee[1]) / 2
        end = middle + (0, -_SKIRT_LENGTH[kind], knees[2] * 0.4)
        flare = pose.hip_width * _SKIRT_FLARE[kind]
        solids.append(limb(middle + (0, 0.02, 0), end, pose.hip_width * 0.98, flare, "lower", flat=1.0))
        return solids
    for side in (0, 1):
        hip, knee, ankle = pose.hip[side], pose.knee[side], pose.ankle[side]
        if kind == "shorts":
            solids.append(limb(hip, hip + 0.86 * (knee - hip), 0.105, 0.098, "lower"))
        else:
            solids += [
                limb(hip, knee, 0.102, 0.078, "lower"),
                ball(knee, (0.078, 0.078, 0.078), "lower"),
                limb(knee, knee + 0.96 * (ankle - knee), 0.078, 0.07, "lower"),
            ]
    return solids


def shoes(person: Person, pose: Pose) -> list[Solid]:
    """Sneakers have a pale sole, boots a shaft over the leg, sandals straps across a bare foot."""
    kind = person.attributes["shoe_type"]
    solids: list[Solid] = []
    for side in (0, 1):
        ankle, pitch = pose.ankle[side], pose.foot_pitch[side]
        forward = np.array([0.0, np.sin(pitch), np.cos(pitch)])
        heel = ankle + (0, -0.035, 0)
        toe = heel + 0.075 * forward
        if kind == "sandals":
            solids.append(ball(toe + (0, 0.0, 0), (0.044, 0.032, 0.125), "skin", turn=pitch))
            solids.append(box(toe + (0, -0.032, 0), (0.052, 0.010, 0.135), "shoe", turn=pitch))
            for along in (-0.06, 0.05):
                solids.append(
                    limb(
                        toe + along * forward + (-0.052, 0.008, 0),
                        toe + along * forward + (0.052, 0.008, 0),
                        0.033,
                        0.033,
                        "shoe",
                    )
                )
            continue
        size = (0.062, 0.062, 0.145) if kind == "sneakers" else (0.066, 0.07, 0.14)
        solids.append(ball(toe + (0, 0.012, 0), size, "shoe", turn=pitch))
        if kind == "sneakers":
            solids.append(box(toe + (0, -0.032, 0), (0.064, 0.020, 0.15), "shoe", "sole", turn=pitch))
        else:
            knee = pose.knee[side]
            shaft = ankle + 0.66 * (knee - ankle)
            solids.append(limb(heel, shaft, 0.072, 0.092, "shoe"))
            solids.append(box(heel + (0, -0.035, -0.03), (0.05, 0.028, 0.05), "shoe", "sole dark"))
    return solids


def scarf(person: Person, pose: Pose) -> list[Solid]:
    if person.attributes["scarf"] == "none":
        return []
    top = chest(pose)
    front = pose.shoulder_width * 0.62
    return [
        limb(top + (0, -0.03, 0.0), top + (0, 0.045, 0.01), 0.165, 0.17, "scarf"),
        limb(top + (0, 0.045, 0.01), top + (0, 0.12, 0.01), 0.17, 0.125, "scarf"),
        limb(top + (0.05, 0.03, 0.12), top + (0.07, -0.40, front + 0.05), 0.06, 0.08, "scarf", flat=0.45),
        limb(top + (-0.05, 0.03, -0.12), top + (-0.07, -0.36, -front - 0.09), 0.06, 0.08, "scarf", flat=0.45),
    ]


def hat(person: Person, pose: Pose) -> list[Solid]:
    kind = person.attributes["hat_type"]
    head = head_centre(pose)
    crown = head + (0, 0.075, -0.01)
    if kind == "cap":
        return [
            ball(crown + (0, 0.02, 0), (0.122, 0.10, 0.13), "hat"),
            box(crown + (0, 0.005, 0.165), (0.085, 0.012, 0.085), "hat", turn=-0.15),
        ]
    if kind == "beanie":
        return [
            ball(crown + (0, 0.03, -0.01), (0.122, 0.14, 0.128), "hat"),
            limb(crown + (0, -0.035, 0), crown + (0, 0.035, 0), 0.130, 0.130, "hat", "hat dark"),
            ball(crown + (0, 0.175, -0.01), (0.045, 0.045, 0.045), "hat", "hat dark"),
        ]
    if kind == "wide-brimmed hat":
        return [
            limb(crown + (0, 0.0, 0), crown + (0, 0.14, 0), 0.120, 0.095, "hat"),
            limb(crown + (0, -0.005, 0), crown + (0, 0.018, 0), 0.245, 0.235, "hat"),
        ]
    return []


def glasses(person: Person, pose: Pose) -> list[Solid]:
    kind = person.attributes["glasses"]
    if kind == "none":
        return []
    head = head_centre(pose)
    solids: list[Solid] = []
    for sign in (1.0, -1.0):
        centre = head + (sign * 0.052, 0.022, 0.115)
        if kind == "sunglasses":
            solids.append(ball(centre, (0.052, 0.042, 0.018), "glasses", "dark lens"))
        else:
            solids.append(ball(centre + (0, 0, -0.004), (0.054, 0.046, 0.012), "glasses", "frame"))
            solids.append(ball(centre + (0, 0, 0.003), (0.036, 0.030, 0.012), "glasses", "lens"))
        temple = head + (sign * 0.09, 0.03, 0.09)
        solids.append(limb(temple, temple + (sign * 0.022, 0, -0.11), 0.014, 0.014, "glasses", "frame"))
    solids.append(
        limb(head + (-0.02, 0.026, 0.125), head + (0.02, 0.026, 0.125), 0.007, 0.007, "glasses", "frame")
    )
    return solids
