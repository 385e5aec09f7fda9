"""Sharding: deterministic, bounded, stable, complete."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import shards
from components.shards import MOST, Picture, divide, find, read_list, write_list
from components.workspace import Workspace
from ctgi.errors import CtgiError


def some(count: int) -> list[Picture]:
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    return [Picture(key, f"{number}.png", None) for number, key in enumerate(ids)]


class Memory(Workspace):
    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 400), per_shard=st.integers(1, 500))
def test_every_picture_is_in_exactly_one_shard_and_there_are_never_many(count: int, per_shard: int) -> None:
    work = Memory()
    items = divide(some(count), per_shard, work)
    assert 1 <= len(items) <= MOST
    found = [picture for item in items for picture in read_list(item["digest"], work)]
    assert sorted(found) == sorted(some(count))
    assert sum(int(item["count"]) for item in items) == count
    assert all(isinstance(value, str) for item in items for value in item.values())
    assert not {"name", "task_name", "channel_type", "pattern"} & set(items[0])  # KFP trips over these


@settings(max_examples=20, deadline=None)
@given(seed=st.randoms())
def test_the_order_of_pictures_does_not_matter(seed: Any) -> None:
    mixed = some(100)
    seed.shuffle(mixed)
    assert divide(mixed, 10, Memory()) == divide(some(100), 10, Memory())


def test_a_new_picture_changes_one_shard_and_no_other() -> None:
    before, after = divide(some(100), 10, Memory()), divide(some(101), 10, Memory())
    same = [one for one in before if one in after]
    assert len(before) == len(after) == 16 and len(same) == 15


def test_a_list_that_was_damaged_or_lost_is_not_taken(tmp_path: Path) -> None:
    work = Workspace(str(tmp_path))
    digest = write_list(some(3), work)
    file = tmp_path / "lists" / f"{digest}.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CtgiError, match="damaged"):
        read_list(digest, work)
    assert write_list(some(3), work) == digest and read_list(digest, work) == sorted(some(3))
    file.unlink()
    with pytest.raises(CtgiError, match="gone"):
        read_list(digest, work)


def test_find_reads_a_file_once_and_again_when_it_changes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = shards._picture_id

    def counted(root: str, path: str) -> str:
        read.append(path)
        return original(root, path)

    monkeypatch.setattr(shards, "_picture_id", counted)
    work = Workspace(str(tmp_path / "work"))
    found = find(str(pictures), "", "train", work)
    assert len(found.pictures) == 5 and len(read) == 6 and ".hidden" not in read
    assert found.problems == ("again.png: the same bytes as 0.png, which stands for both",)
    read.clear()
    assert find(str(pictures), "", "train", work) == found and read == []
    (pictures / "2.png").write_bytes((pictures / "2.png").read_bytes() + b"more")
    changed = find(str(pictures), "", "train", work)
    assert read == ["2.png"] and len(set(changed.pictures) - set(found.pictures)) == 1


def test_an_empty_folder_and_none_at_all_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    work = Workspace(str(tmp_path / "work"))
    for name in ("empty", "none"):
        with pytest.raises(CtgiError, match=name):
            find(str(tmp_path / name), "", "train", work)


def test_pictures_in_an_object_store_are_found_and_brought(
    pictures: Path, tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctgi.storage.opening import open_store

    s3_server.into(monkeypatch)
    url = s3_server.url("pictures")
    store = open_store(url)
    for path in pictures.rglob("*.png"):
        store.put(path.relative_to(pictures).as_posix(), path)
    work = Workspace(str(tmp_path / "work"))
    there, here = find(url, "", "train", work), find(str(pictures), "", "train", work)
    assert there.pictures == here.pictures
    root = shards.bring(there.pictures[:2], url, "", tmp_path / "copy")
    for picture in there.pictures[:2]:
        assert hashlib.sha256((root / picture.path).read_bytes()).hexdigest() == picture.id


def test_what_else_lies_in_a_bucket_stops_nobody(
    pictures: Path, tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Hidden objects are left out as hidden files are; names that cannot be kept and objects that go away are
    told."""
    from ctgi.storage.opening import open_store
    from ctgi.storage.store import Entry

    s3_server.into(monkeypatch)
    url = s3_server.url("untidy")
    store: Any = open_store(url)
    for path in pictures.rglob("*.png"):
        store.put(path.relative_to(pictures).as_posix(), path)
    for name in (".DS_Store", "deep/.thumbs/0.png", "deep/..hidden", "tab\there.png"):
        store._client._put_object(store.bucket, f"{store._prefix}{name}", b"x", {})
    listed = type(store).list

    def and_one_that_goes(self: Any, prefix: str = "") -> Any:
        yield from listed(self, prefix)
        yield Entry("gone.png", 1, next(listed(self, prefix)).modified)

    monkeypatch.setattr(type(store), "list", and_one_that_goes)
    found = find(url, "", "train", Workspace(str(tmp_path / "work")))
    assert [picture.path for picture in found.pictures] == [
        picture.path for picture in find(str(pictures), "", "train", Memory()).pictures
    ]
    assert [line.partition(":")[0] for line in found.problems] == ["again.png", "tab\there.png", "gone.png"]

    store.delete(found.pictures[0].path)
    root = shards.bring(found.pictures, url, "", tmp_path / "copy")
    there = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert there == sorted(picture.path for picture in found.pictures[1:])
    assert capsys.readouterr().err.startswith(f"{found.pictures[0].path}: ")


@pytest.mark.parametrize(
    ("trained", "threshold", "answer"),
    [(4, 2, "no"), (4, 1, "yes"), (0, 5, "yes"), (0, 6, "no"), (5, 1, "no"), (None, 5, "yes")],
)
def test_enough_new_pictures_are_those_the_release_was_not_trained_on(
    tmp_path: Path, trained: int | None, threshold: int, answer: str
) -> None:
    from components.enough import judge

    work = Workspace(str(tmp_path))
    listing = write_list(some(5), work)
    before = "f" * 64 if trained is None else write_list(some(trained), work)
    assert judge(listing, before, str(tmp_path), str(tmp_path / "report"), threshold)[0] == answer
    assert judge(listing, "none", str(tmp_path), str(tmp_path / "report"), 5)[0] == "yes"
