"""What `--replace` may delete, and what it may not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.digest import bytes_sha256
from ctgi.storage.fetch import Layout, fetch
from ctgi.storage.folder import FolderStore
from ctgi.storage.manifest import Item
from ctgi.storage.releases import publish
from ctgi.storage.replacing import obstacle

SAID = {"name": "person", "version": "1", "fingerprint": "f", "embedding_dim": 4}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Two versions of something like a release, in both layouts."""
    store = FolderStore(tmp_path / "store")
    for take in (b"one", b"two"):

        def arrange(_: Path, take: bytes = take) -> Callable[[int], list[Item]]:
            def layout(version: int) -> list[Item]:
                said = json.dumps(SAID).encode()
                return [
                    Item(f"text/{version}/model.onnx", take, "model.onnx", bytes_sha256(take)),
                    Item(f"text/{version}/release.json", said, "release.json", bytes_sha256(said)),
                    Item("text/config.pbtxt", b"text", None, bytes_sha256(b"text")),
                ]

            return layout

        publish(store, tmp_path, "person", arrange=arrange)
    return store


def told(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("before", ["release", "repository"])
@pytest.mark.parametrize("layout", ["release", "repository"])
def test_a_release_of_either_layout_is_replaced(
    store: FolderStore, tmp_path: Path, before: Layout, layout: Layout
) -> None:
    fetch(store, "person", 1, tmp_path / "out", layout=before)
    with pytest.raises(CtgiError, match=r"is not this release; name another folder or ask to replace it"):
        fetch(store, "person", 2, tmp_path / "out", layout=layout)
    fetch(store, "person", 2, tmp_path / "out", layout=layout, replace=True)
    assert told(tmp_path / "out") == told(fetch(store, "person", 2, tmp_path / "new", layout=layout).folder)


def other_work(out: Path) -> None:
    shutil.rmtree(out)
    (out / "train").mkdir(parents=True)
    (out / "train" / "last.safetensors").write_text("days of work")


def tokenizer_alone(out: Path) -> None:
    (out / "release.json").unlink()


def another_release_json(out: Path) -> None:
    (out / "release.json").write_text('{"tag": "v1"}')


def a_file_more(out: Path) -> None:
    (out / "thesis.txt").write_text("mine")


def a_folder_more(out: Path) -> None:
    (out / "notes").mkdir()


def a_release_inside(out: Path) -> None:
    shutil.copytree(out, out.parent / "copy")
    shutil.rmtree(out)
    shutil.copytree(out.parent / "copy", out / "inner")


@pytest.mark.parametrize(
    "change, why",
    [
        (other_work, "'train' in it is not of a release"),
        (tokenizer_alone, "it holds no release"),
        (another_release_json, "it holds no release"),
        (a_file_more, "'thesis.txt' in it is not of a release"),
        (a_folder_more, "'notes' in it is not of a release"),
        (a_release_inside, "'inner' in it is not of a release"),
    ],
)
@pytest.mark.parametrize("asked", [True, False])
def test_whatever_is_not_of_a_release_stays(
    store: FolderStore, tmp_path: Path, change: Callable[[Path], None], why: str, asked: bool
) -> None:
    out = fetch(store, "person", 1, tmp_path / "out").folder
    change(out)
    before = told(out)
    with pytest.raises(CtgiError, match=why) as said:
        fetch(store, "person", 2, out, replace=asked)
    assert "ask to replace" not in str(said.value)  # it would be refused
    assert told(out) == before and (change is not a_folder_more or (out / "notes").is_dir())


def test_a_file_or_a_link_is_not_replaced(store: FolderStore, tmp_path: Path) -> None:
    fetch(store, "person", 1, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("mine")
    for name, why in (("link", "it is a link"), ("file", "it is a file")):
        with pytest.raises(CtgiError, match=why):
            fetch(store, "person", 2, tmp_path / name, replace=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "mine"


def test_a_repository_of_several_versions_is_not_one_that_was_fetched(
    store: FolderStore, tmp_path: Path
) -> None:
    out = fetch(store, "person", 1, tmp_path / "out", layout="repository").folder
    shutil.copytree(out / "text" / "1", out / "text" / "7")
    with pytest.raises(CtgiError, match="it holds versions 1 and 7"):
        fetch(store, "person", 2, out, layout="repository", replace=True)
    assert (out / "text" / "7" / "model.onnx").is_file()


def test_what_comes_while_it_is_fetched_is_not_replaced(store: FolderStore, tmp_path: Path) -> None:
    out = fetch(store, "person", 1, tmp_path / "out").folder
    with pytest.raises(CtgiError, match=r"'thesis.txt' in it"):
        fetch(store, "person", 2, out, replace=True, progress=lambda *_: a_file_more(out))
    assert (out / "thesis.txt").read_text() == "mine"


def test_of_files_without_a_mark_all_have_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert obstacle(tmp_path, ["a", "b"]) == "it holds no release"
    assert obstacle(tmp_path, ["a"]) is None and obstacle(tmp_path / "none", ["a"]) is None
