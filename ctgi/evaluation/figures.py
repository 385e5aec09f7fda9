"""Pictures of rankings in the manner of the paper's Figure 3.

One strip a query: what was asked, the first ten before MTI, the first ten after; hits framed green, others
red, the anchor marked; the refined query beside. Drawn with Pillow.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_bytes

GREEN, RED, INK, FAINT, PAPER = (34, 139, 84), (200, 50, 47), (32, 32, 36), (110, 110, 118), (255, 255, 255)
_WIDTH, _HEIGHT, _FRAME, _GAP, _TEXT = 64, 192, 4, 6, 330
_SIZE, _LEADING, _MARGIN = 14, 19, 12


@dataclass(frozen=True)
class Shown:
    """A picture in a ranking.

    Attributes:
        picture: the picture, or the path of one.
        correct: whether it shows the person who was asked for; None where nobody knows (a grey frame).
        score: written below it, if given.
        anchor: whether MTI took it as the anchor; written in place of the score, which Eq. 7 sets to 1.
    """

    picture: Image.Image | Path
    correct: bool | None
    score: float | None = None
    anchor: bool = False


@dataclass(frozen=True)
class Strip:
    """One query, before and after MTI.

    Attributes:
        query: what the user wrote.
        before, after: the rankings, best first; ten are shown.
        refined: the query after MTI, or None where it was not refined.
        asked_for: a picture of the person who is looked for, shown in front if given.
        note: one more line under the text, such as the reason why MTI stopped.
    """

    query: str
    before: Sequence[Shown]
    after: Sequence[Shown]
    refined: str | None = None
    asked_for: Image.Image | Path | None = None
    note: str = ""


def draw_strip(strip: Strip, *, top: int = 10, font: Path | str | None = None) -> Image.Image:
    """The strip as an RGB picture. `font`: a TrueType file for scripts that Pillow's own font lacks.

    Raises:
        CtgiError: a picture or the font cannot be read.
    """
    write = _font(font)
    cell = _WIDTH + 2 * _FRAME + _GAP
    left = _MARGIN + _TEXT + (cell + _MARGIN if strip.asked_for is not None else 0)
    row = _LEADING + _HEIGHT + 2 * _FRAME + _LEADING + _GAP
    columns = max(1, min(top, max(len(strip.before), len(strip.after))))
    blocks = [("Query", strip.query, INK)]
    if strip.refined is not None:
        blocks.append(("Refined query", strip.refined, INK))
    if strip.note:
        blocks.append(("", strip.note, FAINT))
    lines = [(line, colour) for block in blocks for line, colour in _block(*block, write)]
    height = 2 * _MARGIN + max(2 * row, len(lines) * _LEADING)
    page = Image.new("RGB", (left + columns * cell + _MARGIN, height), PAPER)
    pen = ImageDraw.Draw(page)
    for number, (line, colour) in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + number * _LEADING), line, fill=colour, font=write)
    if strip.asked_for is not None:
        place = (_MARGIN + _TEXT, _MARGIN + _LEADING)
        page.paste(_picture(strip.asked_for), (place[0] + _FRAME, place[1] + _FRAME))
        pen.text((place[0], _MARGIN), "Asked for", fill=FAINT, font=write)
    for number, (title, ranking) in enumerate((("Before MTI", strip.before), ("After MTI", strip.after))):
        upper = _MARGIN + number * row
        pen.text((left, upper), title, fill=FAINT, font=write)
        for column, shown in enumerate(ranking[:top]):
            _draw_shown(page, pen, shown, (left + column * cell, upper + _LEADING), write)
    return page


def stack(strips: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Several strips below each other as one figure."""
    if not strips:
        raise CtgiError("a figure needs at least one strip")
    height = sum(strip.height for strip in strips) + gap * (len(strips) - 1)
    page = Image.new("RGB", (max(strip.width for strip in strips), height), (225, 225, 228))
    upper = 0
    for strip in strips:
        page.paste(PAPER, (0, upper, page.width, upper + strip.height))
        page.paste(strip, (0, upper))
        upper += strip.height + gap
    return page


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()


def save_png(picture: Image.Image, path: Path | str) -> None:
    """Write the picture to `path`, atomically."""
    write_bytes(path, png(picture))


def data_url(picture: Image.Image) -> str:
    """The picture as `data:image/png;base64,…`, to put into a page that stands alone."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def _draw_shown(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    shown: Shown,
    place: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = place
    right, lower = x + _WIDTH + 2 * _FRAME - 1, y + _HEIGHT + 2 * _FRAME - 1
    pen.rectangle((x, y, right, lower), fill={True: GREEN, False: RED, None: FAINT}[shown.correct])
    page.paste(_picture(shown.picture), (x + _FRAME, y + _FRAME))
    word = "anchor" if shown.anchor else "" if shown.score is None else f"{shown.score:.2f}"
    pen.text((x, lower + 3), word, fill=INK if shown.anchor else FAINT, font=font)


def _block(
    title: str, text: str, colour: tuple[int, int, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[tuple[str, tuple[int, int, int]]]:
    head = [(title, FAINT)] if title else []
    return [*head, *((line, colour) for line in _wrapped(text, font)), ("", colour)]


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The text in lines that fit, a word that is too long broken."""
    lines, line = [], ""
    for word in text.split():
        while word:
            longer = f"{line} {word}" if line else word
            if font.getlength(longer) <= _TEXT - 2 * _GAP:
                line, word = longer, ""
            elif line:
                lines.append(line)
                line = ""
            else:
                cut = next(
                    n
                    for n in range(len(word), 0, -1)
                    if n == 1 or font.getlength(word[:n]) <= _TEXT - 2 * _GAP
                )
                lines.append(word[:cut])
                word = word[cut:]
    return [*lines, line] if line else lines


def _picture(picture: Image.Image | Path) -> Image.Image:
    try:
        opened = picture if isinstance(picture, Image.Image) else Image.open(picture)
        return opened.convert("RGB").resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
    except (OSError, ValueError) as error:
        raise CtgiError(f"{picture}: cannot be shown ({error})") from error


def _font(path: Path | str | None) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(_SIZE) if path is None else ImageFont.truetype(str(path), _SIZE)
    except OSError as error:
        raise CtgiError(f"{path}: not a font that can be read; name a TrueType file") from error
