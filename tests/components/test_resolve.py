"""What steps are cached by changes whenever what it stands for does, and only then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.resolve import digest_of_data, digest_of_encoder
from ctgi.errors import CtgiError


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data set that a test may change."""
    return shutil.copytree(dataset, tmp_path / "data")


def another_picture_of_equal_size(data: Path) -> None:
    file = data / "imgs" / "4_0.png"
    content, stat = bytearray(file.read_bytes()), file.stat()
    content[-20] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def two_pictures_that_changed_places(data: Path) -> None:
    one, two = data / "imgs" / "0_0.png", data / "imgs" / "1_0.png"
    one.rename(data / "aside")
    two.rename(one)
    (data / "aside").rename(two)


def in_annotations(name: str, value: object, count: int = 1) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        file = data / "data_captions.json"
        entries = json.loads(file.read_text(encoding="utf-8"))
        for entry in entries[:count]:
            entry[name] = value
        file.write_text(json.dumps(entries), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "change",
    [
        another_picture_of_equal_size,
        two_pictures_that_changed_places,
        in_annotations("captions", ["A person without a bag."]),
        in_annotations("id", 1),
        in_annotations("split", "test", 2),  # both pictures of a person
    ],
    ids=["picture", "places", "caption", "identity", "split"],
)
def test_a_data_set_that_changed_has_another_digest(data: Path, change: Callable[[Path], None]) -> None:
    before = digest_of_data(str(data), "rstpreid")
    change(data)
    assert digest_of_data(str(data), "rstpreid") != before


def test_a_data_set_has_the_same_digest_wherever_and_whenever(dataset: Path, data: Path) -> None:
    for path in data.rglob("*"):
        os.utime(path, (1, 1))
    (data / "imgs" / "in no annotation.png").write_bytes(b"")
    assert digest_of_data(str(data), "rstpreid") == digest_of_data(str(dataset), "rstpreid")


def test_a_data_set_that_cannot_be_read_is_named(data: Path) -> None:
    with pytest.raises(CtgiError, match="mount it"):
        digest_of_data("s3://bucket/data", "rstpreid")
    (data / "imgs" / "4_0.png").unlink()
    with pytest.raises(CtgiError, match="4_0.png"):
        digest_of_data(str(data), "rstpreid")


def test_a_checkpoint_is_its_files_and_not_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"12345678")
    first = digest_of_encoder(str(folder), "")
    (folder / "log.jsonl").write_text("not of the model", encoding="utf-8")
    assert digest_of_encoder(str(folder), "") == first
    assert digest_of_encoder(str(folder.rename(tmp_path / "two")), "") == first
    folder = tmp_path / "two"
    (folder / "model.safetensors").write_bytes(b"12345679")
    second = digest_of_encoder(str(folder), "")
    (folder / "config.json").write_text("[]", encoding="utf-8")
    assert len({first, second, digest_of_encoder(str(folder), "")}) == 3


def test_a_named_model_is_its_name_and_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"12345678")
    said = [("ViT-B-16", "openai"), ("ViT-B-32", "openai"), ("ViT-B-16", "laion2b"), ("ViT-B-16", str(file))]
    digests = [digest_of_encoder(*each) for each in said]
    elsewhere = shutil.copy(file, tmp_path / "elsewhere")
    assert digest_of_encoder("ViT-B-16", str(elsewhere)) == digests[-1]
    file.write_bytes(b"12345679")
    assert len({*digests, digest_of_encoder("ViT-B-16", str(file))}) == 5
    with pytest.raises(CtgiError, match="needs weights"):
        digest_of_encoder("ViT-B-16", "")
