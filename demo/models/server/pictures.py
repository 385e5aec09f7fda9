"""Pictures in requests: data URLs only, with bounds on bytes and pixels, decoded once and remembered by
content."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from demo.models.fixed_grid import to_array
from demo.models.server.errors import ApiError

MAX_BYTES = 8 * 1024 * 1024
MAX_PIXELS = 25_000_000


class Picture:
    """A decoded picture: 252x84 pixels until the vision tower has seen it, its 27 image tokens from then
    on."""

    def __init__(self, number: int, pixels: NDArray[np.uint8]) -> None:
        self.number = number  # stands for the picture's content in prefix-cache keys
        self.pixels: NDArray[np.uint8] | None = pixels
        self.tokens: torch.Tensor | None = None


class PictureShelf:
    """The pictures seen last, by the SHA-256 of their bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._shelf: OrderedDict[bytes, Picture] = OrderedDict()
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._count = 0

    def find(self, digest: bytes) -> Picture | None:
        picture = self._shelf.get(digest)
        if picture is not None:
            self._shelf.move_to_end(digest)
        return picture

    def put(self, digest: bytes, pixels: NDArray[np.uint8]) -> Picture:
        known = self.find(digest)
        if known is not None:
            return known
        # The number outlives the pixels, so that a picture that comes back finds its prefix again.
        number = self._numbers.get(digest)
        if number is None:
            self._count += 1
            number = self._numbers[digest] = self._count
            if len(self._numbers) > 64 * self.capacity:
                self._numbers.popitem(last=False)
        picture = self._shelf[digest] = Picture(number, pixels)
        if len(self._shelf) > self.capacity:
            self._shelf.popitem(last=False)
        return picture


def data_url_bytes(url: str) -> bytes:
    """The bytes of a base64 image data URL. Other URLs are refused: this server fetches nothing."""
    head, comma, body = url.partition(",")
    if not url.startswith("data:"):
        raise ApiError(
            "image_url must be a data URL (data:image/jpeg;base64,...); nothing is fetched", param="messages"
        )
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ApiError("image_url must start with data:image/...;base64,", param="messages")
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise ApiError(f"the image is larger than {MAX_BYTES // 2**20} MiB", param="messages")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(f"the image is not valid base64: {error}", param="messages") from None


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def decode(data: bytes) -> NDArray[np.uint8]:
    """Picture bytes to (252, 84, 3) uint8. The size is read and judged before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise ApiError(
                        f"the image has {width}x{height} pixels; at most {MAX_PIXELS:,} are read",
                        param="messages",
                    )
                picture.load()
                return to_array(ImageOps.exif_transpose(picture)).copy()
    except ApiError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever their formats make them raise
        reason = str(error) or type(error).__name__
        raise ApiError(f"the image cannot be decoded: {reason}"[:200], param="messages") from None
