from __future__ import annotations

import io

import pytest
from PIL import Image

from ctgi.captioning.sent_picture import sent_picture
from ctgi.errors import CtgiError


def encoded(picture: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_ordinary_crop_is_sent_unchanged(kind: str) -> None:
    data = encoded(Image.new("RGB", (128, 384), "red"), kind)
    assert sent_picture(data, "x") is data


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (384, 128), "red"), "JPEG", exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        turned(),
        encoded(Image.new("CMYK", (128, 384), (0, 255, 255, 0)), "JPEG"),
        encoded(Image.new("RGBA", (128, 384), "red"), "PNG"),
        encoded(Image.new("RGB", (128, 384), "red").convert("P"), "PNG"),
        encoded(Image.new("RGB", (128, 384), "red"), "BMP"),
        encoded(Image.new("RGB", (128, 384), "red"), "WEBP", lossless=True),
        encoded(
            Image.new("RGB", (128, 384), "red"),
            "GIF",
            save_all=True,
            append_images=[Image.new("RGB", (128, 384))],
        ),
    ],
    ids=["exif", "cmyk", "alpha", "palette", "bmp", "webp", "animated"],
)
def test_everything_else_is_made_ordinary(data: bytes) -> None:
    sent = decoded(sent_picture(data, "x"))
    assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", (128, 384))
    red, green, blue = sent.getpixel((64, 192))  # type: ignore[misc]
    assert red > 200 and green < 60 and blue < 60


def test_greyscale() -> None:
    sent = decoded(sent_picture(encoded(Image.new("L", (64, 64), 99), "PNG"), "x"))
    assert sent.mode == "RGB" and sent.getpixel((5, 5)) == (99, 99, 99)


def test_a_large_photograph_is_scaled_down() -> None:
    sent = decoded(sent_picture(encoded(Image.new("RGB", (3000, 6000)), "JPEG"), "x"))
    assert (sent.format, sent.size) == ("JPEG", (640, 1280))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (encoded(Image.new("RGB", (128, 384), "red"), "PNG")[:60], "damaged"),
        (encoded(Image.new("RGB", (1, 1)), "PNG"), "1x1"),
        (encoded(Image.new("RGB", (8, 4000)), "PNG"), "strip"),
    ],
)
def test_what_shows_nobody_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(CtgiError, match=rf"a/b\.jpg.*{reason}"):
        sent_picture(data, "a/b.jpg")
