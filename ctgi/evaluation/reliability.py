"""The reliability diagram of dossiers: what answers promise against what they keep, before and after.

Drawn with Pillow, like the other figures of a search. A calibrated answer lies on the diagonal.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ctgi.evaluation.figures import save_png
from ctgi.interaction.temperature import Reliability

_SIDE, _LEFT, _TOP, _GAP = 300, 56, 44, 70
_INK, _FAINT, _BLUE, _PAPER = (32, 32, 36), (170, 170, 178), (31, 111, 235), (255, 255, 255)


def draw_reliability(before: Reliability, after: Reliability) -> Image.Image:
    """Two diagrams side by side: bins of equal count, a dot at (mean stated probability, share right)."""
    page = Image.new("RGB", (2 * (_LEFT + _SIDE) + _GAP, _TOP + _SIDE + 56), _PAPER)
    draw = ImageDraw.Draw(page)
    _diagram(draw, _LEFT, "as answered", before)
    _diagram(draw, _LEFT + _SIDE + _GAP + _LEFT, "calibrated", after)
    return page


def save_reliability(before: Reliability, after: Reliability, path: Path) -> None:
    """The two diagrams as a PNG, written atomically. Raises CtgiError where it cannot be written."""
    save_png(draw_reliability(before, after), path)


def _diagram(draw: ImageDraw.ImageDraw, left: int, title: str, found: Reliability) -> None:
    font = ImageFont.load_default(13)

    def at(stated: float, right: float) -> tuple[float, float]:
        return left + stated * _SIDE, _TOP + (1.0 - right) * _SIDE

    count = int(found.count.sum())
    draw.text((left, 12), f"{title}: ECE {100 * found.ece:.1f} %, {count} answers", _INK, font)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        draw.line([at(tick, 0.0), at(tick, 1.0)], _FAINT if 0 < tick < 1 else _INK)
        draw.line([at(0.0, tick), at(1.0, tick)], _FAINT if 0 < tick < 1 else _INK)
        draw.text((left + tick * _SIDE - 10, _TOP + _SIDE + 6), f"{tick:g}", _INK, font)
        draw.text((left - 34, _TOP + (1 - tick) * _SIDE - 8), f"{tick:g}", _INK, font)
    draw.line([at(0.0, 0.0), at(1.0, 1.0)], _FAINT, width=2)
    points = [at(float(p), float(y)) for p, y in zip(found.stated, found.right, strict=True)]
    draw.line(points, _BLUE, width=2)
    for x, y in points:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_BLUE)
    draw.text((left, _TOP + _SIDE + 28), "stated probability; upwards: share that was right", _INK, font)
