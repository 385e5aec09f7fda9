from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ctgi.errors import CtgiError
from ctgi.evaluation.figures import GREEN, RED, Shown, Strip, data_url, draw_strip, save_png, stack


def plain(colour, size=(128, 384)):
    return Image.new("RGB", size, colour)


def frames(picture, colour):
    """Number of separate runs of columns that hold the colour, in each half of the picture."""
    table = (np.asarray(picture) == colour).all(axis=2)
    halves = np.array_split(table, 2)
    return [int((np.diff(np.concatenate([[0], half.sum(axis=0) > 150])) == 1).sum()) for half in halves]


def strip(**more):
    before = [Shown(plain((9, 9, 9 * n)), correct=n == 3, score=0.5 - n / 100) for n in range(12)]
    after = [Shown(plain((9, 9, 9 * n)), correct=n < 2, anchor=n == 0) for n in range(12)]
    return Strip("a man with a rucksack", before, after, **more)


def test_ten_are_shown_hits_in_green_others_in_red():
    drawn = draw_strip(strip(refined="a man with a red rucksack and white trainers"))
    # Every frame has a left and a right side.
    assert frames(drawn, GREEN) == [2, 4] and frames(drawn, RED) == [18, 16]


def test_the_refined_query_and_the_person_asked_for_are_there():
    bare, full = draw_strip(strip()), draw_strip(strip(refined="red trainers", asked_for=plain((1, 2, 250))))
    assert full.width > bare.width
    assert ((np.asarray(full) == (1, 2, 250)).all(axis=2)).sum() > 64 * 180
    assert (
        np.asarray(full)[:, :330].min(axis=2).astype(int).sum()
        < np.asarray(bare)[:, :330].min(axis=2).astype(int).sum()
    )


def test_long_and_odd_texts_stay_on_the_page():
    drawn = draw_strip(strip(refined="word " * 300 + "x" * 500 + " <b> 人物 👟"))
    table = np.asarray(drawn)
    assert drawn.height > 1000 and (table[-10:] == 255).all()
    assert (table[500:, 330:] == 255).all()  # nothing of the text reaches the pictures' side


def test_as_file_as_data_and_stacked(tmp_path):
    drawn = draw_strip(strip())
    save_png(drawn, tmp_path / "deep" / "strip.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "deep" / "strip.png")), np.asarray(drawn))
    head, body = data_url(drawn).split(",")
    assert (
        head == "data:image/png;base64" and Image.open(io.BytesIO(base64.b64decode(body))).size == drawn.size
    )
    assert stack([drawn, drawn]).height == 2 * drawn.height + 8
    with pytest.raises(CtgiError, match="at least one"):
        stack([])


def test_few_hits_and_pictures_of_other_modes():
    drawn = draw_strip(
        Strip("", [Shown(Image.new("L", (1, 1)), False)], [Shown(Image.new("RGBA", (5, 900)), True)])
    )
    assert frames(drawn, GREEN) == [0, 2] and frames(drawn, RED) == [2, 0]
    assert draw_strip(Strip("nobody", [], [])).width > 0


def test_faults_are_one_line(tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    with pytest.raises(CtgiError, match="cannot be shown"):
        draw_strip(Strip("", [Shown(tmp_path / "no.jpg", True)], []))
    with pytest.raises(CtgiError, match="not a font"):
        draw_strip(strip(), font=tmp_path / "no.jpg")
