"""Training curves as inline SVG: small line charts that need nothing from outside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f6feb", "#d9822b", "#2e8b57", "#9b4dca")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 240, 46, 12, 26, 34


def line_chart(title: str, series: Mapping[str, Sequence[float]], across: str = "epoch") -> str:
    """An SVG element: each series is drawn over 1, 2, 3 ... with a legend below the title."""
    values = [value for line in series.values() for value in line]
    if not values:
        return ""
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    low, high = max(0.0, low - 0.08 * spread) if low >= 0 else low - 0.08 * spread, high + 0.08 * spread
    last = max(len(line) for line in series.values())

    def x(step: int) -> float:
        return _LEFT + (step - 1) / max(1, last - 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 18 * len(series)}" role="img" aria-label="{escape(title)}">',
        f'<text x="{_LEFT}" y="16" class="head">{escape(title)}</text>',
    ]
    for tick in range(5):
        value = low + tick * (high - low) / 4
        parts.append(
            f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" class="grid"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" class="tick end">{value:.3g}</text>'
        )
    for step in sorted({1, (last + 1) // 2, last}):
        parts.append(f'<text x="{x(step):.1f}" y="{_HEIGHT - 16}" class="tick mid">{step}</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}" class="tick end">{escape(across)}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in enumerate(line, start=1))
        lower = _HEIGHT + 18 * number + 10
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<rect x="{_LEFT}" y="{lower - 8}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{_LEFT + 20}" y="{lower}" class="tick">{escape(name)}</text>'
        )
    return "".join([*parts, "</svg>"])
