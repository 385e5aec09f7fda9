from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ctgi.datasets.pictures import find_pictures, picture_id, read_picture
from ctgi.errors import CtgiError


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_the_id_is_the_sha256_of_the_bytes() -> None:
    # NIST's published example for the message "abc".
    assert picture_id(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert picture_id(b"") == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_an_rgb_picture_comes_back_as_it_is(form: str) -> None:
    pixels = noise(20, 10, 3)
    data = encoded(Image.fromarray(pixels), form, **({"lossless": True} if form == "WEBP" else {}))
    picture = read_picture(data)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a.transpose(1, 0, 2), 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_undone(orientation: int, upright) -> None:
    # What each value means is in the EXIF 2.3 standard, tag 0x0112; the arrays do it independently of Pillow.
    pixels = noise(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(encoded(Image.fromarray(pixels), "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(picture), upright(pixels))


def test_transparency_lies_over_white() -> None:
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    layer.putpixel((1, 0), (255, 0, 0, 128))
    picture = read_picture(encoded(layer, "PNG"))
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = picture.getpixel((1, 0))
    assert red == 255 and green == blue and abs(green - 127) <= 1


def test_a_transparent_palette_and_grey_alpha_lie_over_white() -> None:
    palette = Image.new("P", (2, 2))
    palette.putpalette([9, 9, 9])
    assert read_picture(encoded(palette, "GIF", transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    assert read_picture(encoded(Image.new("LA", (2, 2), (0, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_and_greys_become_rgb() -> None:
    cmyk = read_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert cmyk.mode == "RGB"
    red, green, blue = cmyk.getpixel((4, 4))
    assert red > 230 and green < 30 and blue < 30
    assert read_picture(encoded(Image.new("L", (2, 2), 77), "PNG")).getpixel((0, 0)) == (77, 77, 77)
    assert read_picture(encoded(Image.new("1", (2, 2), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_middle() -> None:
    deep = Image.fromarray(np.full((2, 2), 100 * 257, np.uint16))
    assert read_picture(encoded(deep, "PNG")).getpixel((0, 0)) == (100, 100, 100)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert read_picture(data).getpixel((0, 0)) == (255, 0, 0)


def test_one_pixel_is_a_picture() -> None:
    assert read_picture(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).size == (1, 1)


def test_a_jpeg_of_100_megapixels_is_decoded_smaller() -> None:
    picture = read_picture(encoded(Image.new("L", (10_000, 10_000)), "JPEG"), max_pixels=20_000_000)
    assert picture.size == (2500, 2500)


def test_a_png_above_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CtgiError, match="wall.png: 3000x2000 pixels, more than 1000000"):
        read_picture(encoded(Image.new("L", (3000, 2000)), "PNG"), max_pixels=1_000_000, name="wall.png")


def test_a_decompression_bomb_is_refused() -> None:
    with pytest.raises(CtgiError, match="too many pixels"):
        read_picture(encoded(Image.new("1", (20_000, 20_000)), "PNG"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_pictures_are_refused_in_one_line(form: str, part: float) -> None:
    data = encoded(Image.fromarray(noise(60, 60, 3)), form)
    with pytest.raises(CtgiError, match="^half.pic: ") as caught:
        read_picture(data[: int(part * len(data))], name="half.pic")
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not a picture")
    with pytest.raises(CtgiError, match="notes.jpg: not a picture"):
        read_picture(text)
    with pytest.raises(CtgiError, match="empty"):
        read_picture(b"")
    with pytest.raises(CtgiError, match="no such file"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(CtgiError, match="cannot be read"):
        read_picture(tmp_path)


def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(noise(8, 8, 3)), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_picture(data).size == (8, 8)


def test_a_colour_profile_does_not_hinder() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_picture(encoded(Image.new("RGB", (4, 4), "red"), "PNG", icc_profile=profile)).mode == "RGB"


def test_files_are_found_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a.jpg", ".hidden.png", ".git/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found == ["a.jpg", "b/1.png", "b/2.png", "notes.txt"]
    with pytest.raises(CtgiError, match="no such folder"):
        find_pictures(tmp_path / "absent")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that can be listed and not entered; whoever runs the tests may have every right."""
    for name in ("a.jpg", "closed/b.jpg", "listed/c.jpg", "listed/deep/d.jpg", "open/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    scandir, is_file = os.scandir, Path.is_file

    def refused(path: object) -> PermissionError:
        return PermissionError(errno.EACCES, "Permission denied", str(path))

    def listed(path: Any = ".") -> Any:
        if Path(path) == tmp_path / "closed":
            raise refused(path)
        return scandir(path)

    def looked_at(path: Path) -> bool:
        if tmp_path / "listed" in path.parents:
            raise refused(path)
        return is_file(path)

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(Path, "is_file", looked_at)
    unread: dict[Path, str] = {}
    assert find_pictures(tmp_path, unread=unread) == [tmp_path / "a.jpg", tmp_path / "open" / "e.jpg"]
    reason = "cannot be read (Permission denied); check its permissions"
    assert unread == {tmp_path / "closed": reason, tmp_path / "listed": reason}
    with pytest.raises(CtgiError, match=r"(closed|listed): the folder cannot be read \(Permission denied\)"):
        find_pictures(tmp_path)


def test_results_inside_the_folder_are_not_its_pictures(tmp_path: Path) -> None:
    for name in ("a.jpg", "out/captions.parquet", "out/interviews/x.json", "outside/b.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    found = find_pictures(tmp_path, without=tmp_path / "link")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.jpg", "outside/b.jpg"]
    assert find_pictures(tmp_path / "outside", without=tmp_path) == [tmp_path / "outside" / "b.jpg"]
    with pytest.raises(CtgiError, match="results would lie among the pictures"):
        find_pictures(tmp_path / "out", without=tmp_path / "out")
