"""What a person sees in KFP's user interface: Markdown, and HTML pages that need nothing else.

Charts are inline SVG and pictures are data URLs, since the page is shown in a sandboxed frame. Whatever came
from users or models is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

_COLOURS = ("#2f6fb2", "#c2571a", "#3d8b5f", "#8a4fa3", "#8c8c3e")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 260, 54, 34, 22


def page(title: str, *parts: str) -> str:
    """A whole HTML page."""
    style = (
        "body{font:14px/1.5 system-ui,sans-serif;margin:24px;color:#202024;background:#fff;max-width:1000px}"
        "h1{font-size:18px}h2{font-size:15px;margin-top:28px}img{max-width:100%}svg text{font:12px system-ui}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def picture(png: bytes, alt: str) -> str:
    """A picture inside the page."""
    return f'<p><img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'


def lines(series: Mapping[str, Sequence[float]], x_label: str) -> str:
    """A line a series over 1, 2, …; an SVG with its own axes and legend."""
    values = [value for points in series.values() for value in points]
    if not values:
        return "<p>nothing to draw</p>"
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1.0
    count = max(len(points) for points in series.values())

    def place(number: int, value: float) -> tuple[str, str]:
        x = _LEFT + (_WIDTH - _LEFT - 12) * (number / max(1, count - 1))
        return f"{x:.1f}", f"{_y(value, low, high):.1f}"

    drawn = [_axis(low, high), _words(_WIDTH / 2, _HEIGHT - 4, x_label)]
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dots = [place(step, value) for step, value in enumerate(points)]
        path = " ".join(f"{x},{y}" for x, y in dots)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in dots]
        drawn.append(_legend(number, name, colour))
    return _svg(drawn, ", ".join(series))


def bars(rows: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """Grouped bars: for each metric one bar a row, with its interval (value, low, high), in percent."""
    metrics = list(next(iter(rows.values())))
    drawn = [_axis(0.0, 100.0)]
    group = (_WIDTH - _LEFT - 12) / len(metrics)
    width = group * 0.8 / len(rows)
    for number, (name, row) in enumerate(rows.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn.append(_legend(number, name, colour))
        for place, metric in enumerate(metrics):
            value, low, high = row[metric]
            x, y = _LEFT + place * group + group * 0.1 + number * width, _y(value, 0, 100)
            height = _y(0, 0, 100) - y
            said = escape(f"{name}, {metric}: {value:.1f} [{low:.1f}, {high:.1f}]")
            drawn.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
                f"<title>{said}</title></rect>"
            )
            middle = x + width / 2
            drawn.append(
                f'<path d="M{middle:.1f} {_y(low, 0, 100):.1f}V{_y(high, 0, 100):.1f}" stroke="#202024"/>'
            )
    for place, metric in enumerate(metrics):
        drawn.append(_words(_LEFT + (place + 0.5) * group, _HEIGHT - 14, metric))
    return _svg(drawn, "bars")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table of rows with the same keys."""
    names = list(rows[0])
    body = ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + " --- |" * len(names), *body]) + "\n"


def write(path: str | Path, text: str) -> None:
    """Write an artifact's file; KFP makes the folder only for some of them."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def plain_text(text: str) -> str:
    """Somebody's text inside Markdown: on one line, and never read as markup."""
    line = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in "|<>&*_[]`#!\\" else c for c in line)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else plain_text(str(value))


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (_HEIGHT - _BOTTOM - _TOP) * (1 - (value - low) / (high - low))


def _axis(low: float, high: float) -> str:
    out = []
    for part in range(5):
        value = low + (high - low) * part / 4
        y = _y(value, low, high)
        out.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 12}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    return "".join(out)


def _words(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _legend(number: int, name: str, colour: str) -> str:
    x = _LEFT + number * 150
    mark = f'<rect x="{x}" y="4" width="10" height="10" fill="{colour}"/>'
    return f'{mark}<text x="{x + 14}" y="13">{escape(name)}</text>'


def _svg(drawn: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{escape(label)}">'
        f"{''.join(drawn)}</svg>"
    )
