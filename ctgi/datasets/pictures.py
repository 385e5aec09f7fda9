"""Pictures from disk or from bytes, whatever cameras, phones and web pages put into them.

The output is always an upright RGB picture. What cannot be turned into one is refused with one line.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ctgi.errors import CtgiError

MAX_PIXELS = 64_000_000
"""Largest picture decoded by default: 192 MB as RGB. Larger JPEGs are decoded at 1/2, 1/4 or 1/8 size."""

# The limit below is ours and is enforced; Pillow's warning about the same thing would only add noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def picture_id(data: bytes) -> str:
    """The picture's id: SHA-256 of the file's bytes, 64 hexadecimal digits (design, section 2)."""
    return hashlib.sha256(data).hexdigest()


def find_pictures(
    folder: Path | str, *, without: Path | None = None, unread: dict[Path, str] | None = None
) -> list[Path]:
    """Every visible file under `folder`, recursively, sorted by path; hidden files and folders are left out.

    Nothing is judged by its name's ending: `read_picture` says of each file whether it is a picture, so that
    a file that is not one is reported by its user rather than passed over in silence.

    `without` is a folder that is left out when it lies inside: the results of a run are not its pictures.

    What lies in a folder that cannot be read is not known. With `unread` such folders, and files that cannot
    even be looked at, are put into it with the reason, and the rest is found; without it they are an error,
    since whoever works with fewer pictures has to know that.

    Raises CtgiError when `folder` is not a readable folder, or when `without` is that very folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise CtgiError(f"{root}: no such folder of pictures; give an existing folder")
    if not os.access(root, os.R_OK | os.X_OK):
        raise CtgiError(f"{root}: the folder cannot be read; check its permissions")
    apart = None if without is None else without.resolve()
    if apart is not None and root.resolve() == apart:
        raise CtgiError(f"{without}: results would lie among the pictures of {root}; name another folder")
    found: list[Path] = []

    def missed(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename))
        if unread is None:
            raise CtgiError(
                f"{place}: the folder cannot be read ({error.strerror}); check its permissions, or give a "
                "folder without it"
            ) from error
        unread[place] = f"cannot be read ({error.strerror}); check its permissions"

    for directory, folders, files in os.walk(root, onerror=missed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if apart is not None:
            folders[:] = [name for name in folders if Path(directory, name).resolve() != apart]
        for name in files:
            path = Path(directory, name)
            try:
                if not name.startswith(".") and path.is_file():
                    found.append(path)
            except OSError as error:  # the folder may be listed and no more
                missed(OSError(error.errno, error.strerror, directory))
                folders.clear()
                break
    return sorted(found)


def read_picture(
    source: Path | str | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Decode one picture: mode RGB, EXIF-upright, first frame, transparency over white.

    `source` is a path or the file's bytes; `name` is what errors call it (default: the path).
    A picture above `max_pixels` is decoded smaller when its format allows that (JPEG), else refused.

    Raises CtgiError naming the file and the reason: missing, empty, not a picture, truncated, too large.
    """
    label = name or ("picture" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else _read_bytes(Path(source), label)
    if not data:
        raise CtgiError(f"{label}: the file is empty; replace or remove it")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _limit(image, max_pixels, label)
            image.load()
            return _as_rgb(_upright(image), label)
    except UnidentifiedImageError as error:
        raise CtgiError(f"{label}: not a picture (no known image format); replace or remove it") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise CtgiError(f"{label}: too many pixels to decode; make it smaller than {max_pixels}") from error
    except CtgiError:
        raise
    except Exception as error:  # decoders meet hostile bytes: any failure of theirs is the file's fault
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CtgiError(f"{label}: damaged picture ({reason}); replace or remove it") from error


def _read_bytes(path: Path, label: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CtgiError(f"{label}: no such file; check the path") from error
    except OSError as error:
        raise CtgiError(
            f"{label}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error


def _limit(image: Image.Image, max_pixels: int, label: str) -> None:
    width, height = image.size
    for scale in (1, 2, 4, 8):
        if (width // scale) * (height // scale) <= max_pixels:
            break
    if scale > 1:
        # Only JPEG can decode at a fraction of its size; for every other format this changes nothing.
        image.draft(image.mode, (max(1, width // scale), max(1, height // scale)))
    if image.size[0] * image.size[1] > max_pixels:
        raise CtgiError(f"{label}: {width}x{height} pixels, more than {max_pixels}; make it smaller")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the pixels, which have been decoded
        return image


def _as_rgb(image: Image.Image, label: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greys: Pillow's own conversion would clip them to white
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0).convert("L")
    elif image.mode == "F":
        raise CtgiError(f"{label}: floating-point pixels have no agreed range; save it as 8-bit PNG or JPEG")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
