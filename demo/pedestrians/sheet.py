"""A contact sheet of the rendered world: a row a person, a column a view."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from demo.pedestrians.camera import VIEWS, sample_view
from demo.pedestrians.language import static_caption
from demo.pedestrians.render import HEIGHT, WIDTH, render
from demo.pedestrians.world import person_of

_LINE = 16


def contact_sheet(people: int = 6, views: int = 8, seed: int = 0) -> Image.Image:
    """Render ``people`` test persons of ``seed``'s world in ``views`` views each, T_s of the first below.

    The first columns go through the named directions in turn, the rest are drawn at random.
    """
    gap = 2
    cell_width, cell_height = WIDTH + gap, HEIGHT + gap + _LINE
    sheet = Image.new("RGB", (views * cell_width, people * cell_height), "white")
    pen = ImageDraw.Draw(sheet)
    names: list[str | None] = [*VIEWS, *[None] * views][:views]
    for row in range(people):
        person = person_of(seed, "test", row)
        rng = np.random.default_rng([seed, 4, row])
        for column, name in enumerate(names):
            pixels, visible = render(person, sample_view(rng, name))
            sheet.paste(Image.fromarray(pixels), (column * cell_width, row * cell_height))
            if column == 0:
                place = (2, row * cell_height + HEIGHT + 2)
                pen.text(place, f"{row}: {static_caption(visible)}", fill="black")
    return sheet
