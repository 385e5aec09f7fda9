"""The look of the report: one HTML page that stands alone, and the pieces it is made of."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

_STYLE = """
:root { --ink: #1c1f23; --faint: #667080; --line: #d9dde3; --soft: #f4f6f8; --good: #1f7a45; --bad: #b3322f; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 80px; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 21px; margin: 44px 0 8px; padding-top: 10px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 22px 0 6px; }
p, li { max-width: 76ch; }
p.note, figcaption { color: var(--faint); font-size: 14px; }
nav a { margin-right: 14px; font-size: 14px; }
a { color: #1558b0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
td small { color: var(--faint); white-space: nowrap; }
td.c, th.c { text-align: center; }
td:first-child { min-width: 150px; }
tr.strong td { background: #eef6f0; }
.good { color: var(--good); } .bad { color: var(--bad); }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; padding: 0; list-style: none; }
.facts li { background: var(--soft); border-radius: 8px; padding: 10px 16px; min-width: 150px; }
.facts b { display: block; font-size: 22px; }
.facts span { color: var(--faint); font-size: 13px; }
figure { margin: 12px 0; } figure img { max-width: 100%; height: auto; display: block; }
.side { display: grid; grid-template-columns: 128px 1fr; gap: 18px; align-items: start; margin: 14px 0; }
.side img { width: 128px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 14px 26px; }
.cards .side { grid-template-columns: 84px 1fr; margin: 0; font-size: 14px; }
.cards .side img { width: 84px; }
.cards p { margin: 0 0 6px; }
.dropped { color: var(--faint); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 20px; }
svg { width: 100%; height: auto; } svg .grid { stroke: var(--line); }
svg text { font: 12px system-ui, sans-serif; }
svg .head { font-weight: 600; font-size: 13px; } svg .tick { fill: var(--faint); }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
code, pre { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; background: var(--soft); }
pre { padding: 12px 14px; border-radius: 6px; overflow-x: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page of these parts, which are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def section(name: str, heading: str, *parts: str) -> str:
    """A section that the page's navigation can point to."""
    return f'<section id="{name}"><h2>{escape(heading)}</h2>\n' + "\n".join(parts) + "</section>"


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    kinds: str = "",
    strong: Sequence[int] = (),
) -> str:
    """A table of cells that are HTML already. ``kinds``: per column "n" for numbers, "c" for centred, "l"."""
    kinds = kinds.ljust(len(heads), "l")

    def cells(tag: str, line: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="{kind}">{cell}</{tag}>' if kind != "l" else f"<{tag}>{cell}</{tag}>"
            for cell, kind in zip(line, kinds, strict=True)
        )

    body = "".join(
        f'<tr class="strong">{cells("td", row)}</tr>' if n in strong else f"<tr>{cells('td', row)}</tr>"
        for n, row in enumerate(rows)
    )
    head = cells("th", [escape(head) for head in heads])
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    items = (f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in pairs)
    return f'<ul class="facts">{"".join(items)}</ul>'


def picture(image: Image.Image, words: str, *, png: bool = False) -> str:
    """An <img> that carries its picture."""
    buffer = io.BytesIO()
    if png:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.convert("RGB").save(buffer, "JPEG", quality=88)
    kind = "png" if png else "jpeg"
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{data}">'


def figure(image: str, words: str) -> str:
    return f"<figure>{image}<figcaption>{escape(words)}</figcaption></figure>"
