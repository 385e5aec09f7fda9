"""A folder as people have them: every odd file is either read or named in one line, and the run goes on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctgi.cli.main import main
from ctgi.datasets.pictures import find_pictures, read_picture
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.gallery.index import Gallery

RED, BLUE = (200, 30, 30), (40, 60, 200)
READ = {"upright.jpg": "red", "cmyk.jpg": "red", "grey.jpg": "white", "alpha.png": "white",
        "animated.gif": "blue", "large.jpg": "white"}  # fmt: skip
SKIPPED = {
    "large.png": "8001x8001 pixels, more than 64000000; make it smaller",
    "cut.jpg": "damaged picture",
    "notes.txt": "not a picture",
    "empty.jpg": "the file is empty",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    two = np.zeros((96, 32, 3), np.uint8)
    two[:64], two[64:] = RED, BLUE  # upright: red above
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.rot90(two)).save(folder / "upright.jpg", exif=turned)
    Image.new("RGB", (32, 96), RED).convert("CMYK").save(folder / "cmyk.jpg")
    Image.new("L", (32, 96), 240).save(folder / "grey.jpg")
    Image.new("RGBA", (32, 96), (*RED, 0)).save(folder / "alpha.png")
    frames = [Image.new("RGB", (32, 96), colour) for colour in (BLUE, RED)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (8001, 8001), 240).save(folder / "large.jpg")
    Image.new("L", (8001, 8001), 240).save(folder / "large.png", compress_level=1)
    Image.new("RGB", (1, 1), RED).save(folder / "one-pixel.png")
    noise = np.random.default_rng(0).integers(0, 255, (96, 32, 3), np.uint8)
    Image.fromarray(noise).save(buffer := io.BytesIO(), "JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "empty.jpg").touch()
    return folder


def test_every_odd_file_is_captioned_or_named(odd: Path, tmp_path: Path, chat: Any) -> None:
    out = tmp_path / "captions"
    words = ["caption", str(odd), "--out", str(out), "--server", chat.url, "--model", "m", "--rounds", "1"]
    assert main(words) == 0
    said = {row.path: row.static_caption for row in read_pseudo_captions(out / "captions.parquet")}
    assert said == {name: f"A person in a {colour} jacket." for name, colour in READ.items()}
    named_in_one_line(
        (out / "report.txt").read_text(encoding="utf-8"),
        SKIPPED | {"one-pixel.png": "1x1 pixels show nobody"},
    )


def test_every_odd_file_is_embedded_or_named(
    odd: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "gallery"
    assert main(["index", str(odd), "--release", str(release), "--out", str(gallery)]) == 0
    opened = Gallery.open(gallery, None)
    assert {row["path"] for row in opened.payloads(opened.ids)} == {*READ, "one-pixel.png"}
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped: ")]
    named_in_one_line("\n".join(lines), SKIPPED)


def named_in_one_line(report: str, reasons: dict[str, str]) -> None:
    lines = report.splitlines()
    assert len(lines) == len(reasons)
    for name, reason in reasons.items():
        (line,) = [line for line in lines if f"{name}:" in line]
        assert reason in line


def test_photo_like_pictures_of_another_source_are_read() -> None:
    """The pictures of the package `openpeople` (MIT), which docs/own-pictures.md is about."""
    openpeople = pytest.importorskip("openpeople", reason="a package of the extra `dev`")
    files = [path for path in find_pictures(Path(openpeople.__file__).parent / "data" / "curated")
             if path.suffix == ".jpg"]  # fmt: skip
    assert len(files) == 60
    for path in files[::10]:
        picture = read_picture(path)
        assert picture.mode == "RGB" and min(picture.size) > 256
