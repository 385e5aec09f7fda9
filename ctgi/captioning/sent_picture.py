"""The bytes of a picture that a chat model is sent."""

from __future__ import annotations

import io

from PIL import Image

from ctgi.datasets.pictures import read_picture
from ctgi.errors import CtgiError

#: Longer sides are scaled down: a person fills the picture, and more pixels are only more tokens.
LONGEST_SIDE = 1280
#: A side shorter than this shows nobody, and chat models refuse it.
SHORTEST_SIDE = 8
_EXIF_ORIENTATION = 0x0112


def sent_picture(data: bytes, name: str) -> bytes:
    """A file's bytes as JPEG or PNG: upright, RGB, sides of 8 to 1280 pixels.

    A file that is so already is sent unchanged; every other one is encoded anew (PNG when small, else JPEG).
    Raises CtgiError, naming ``name`` and the reason, for what is no picture or is too small.
    """
    picture = read_picture(data, name=name)
    if min(picture.size) < SHORTEST_SIDE:
        raise CtgiError(f"{name}: {picture.width}x{picture.height} pixels show nobody; use a larger picture")
    if max(picture.size) <= LONGEST_SIDE and _can_be_sent(data):
        return data
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if min(picture.size) < SHORTEST_SIDE:
        raise CtgiError(f"{name}: the picture is a thin strip; cut it to the person")
    buffer = io.BytesIO()
    if picture.width * picture.height <= 256 * 1024:
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _can_be_sent(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return (
            image.format in ("JPEG", "PNG")
            and image.mode == "RGB"
            and not image.has_transparency_data
            and not getattr(image, "is_animated", False)
            and image.getexif().get(_EXIF_ORIENTATION, 1) == 1
        )
