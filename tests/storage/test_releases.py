"""Publishing, finding, fetching and pinning, on a folder and on a real S3 server."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.digest import bytes_sha256, file_sha256
from ctgi.storage.fetch import fetch
from ctgi.storage.manifest import Item, Manifest, manifest_key, read_manifest
from ctgi.storage.opening import open_store
from ctgi.storage.releases import names, pin, pins, publish, resolve, unpin, verify, versions
from ctgi.storage.store import AlreadyThere, Damaged, NotThere


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".hidden")
    }


def change(folder, text):
    (folder / "sub" / "tokenizer.json").write_text(text)


def test_what_is_published_is_fetched(store, release, tmp_path):
    told = []
    done = publish(store, release, "person", facts={"R@1": 54.2}, progress=lambda *both: told.append(both))
    assert (done.manifest.version, done.already, done.found) == (1, False, 0)
    assert told[-1] == (300_002, 300_002) and done.sent == done.manifest.size == 300_002
    got = fetch(store, "person", "latest", tmp_path / "got")
    assert content(got.folder) == content(release) and got.manifest == done.manifest and not got.already
    assert got.manifest.facts == {"R@1": 54.2} and names(store) == ["person"]
    assert fetch(store, "person", 1, tmp_path / "got").already
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_versions_count_up_and_the_same_content_is_published_once(store, release):
    assert publish(store, release, "person").manifest.version == 1
    again = publish(store, release, "person")
    assert again.already and again.manifest.version == 1 and again.sent == 0
    change(release, "2")
    assert publish(store, release, "person").manifest.version == 2
    assert publish(store, release, "person", 2).already
    assert publish(store, release, "person", 7).manifest.version == 7
    change(release, "8")
    assert publish(store, release, "person").manifest.version == 8
    assert [manifest.version for manifest in versions(store, "person")] == [1, 2, 7, 8]
    with pytest.raises(
        AlreadyThere, match="version 2 is published already, with other content; publish without"
    ):
        publish(store, release, "person", 2)


def test_an_arrangement_decides_what_lies_where(store, release, tmp_path):
    def arrange(folder):
        digest = file_sha256(folder / "model.onnx")
        return lambda version: [
            Item(f"text/{version}/model.onnx", folder / "model.onnx", "model.onnx", digest),
            Item.of("text/config.pbtxt", b"name: text", None),
        ]

    publish(store, release, "person", 3, arrange=arrange)
    assert set(content(fetch(store, "person", 3, tmp_path / "got").folder)) == {"model.onnx"}
    repository = fetch(store, "person", 3, tmp_path / "repository", layout="repository").folder
    assert set(content(repository)) == {"text/3/model.onnx", "text/config.pbtxt"}


def test_fetch_replaces_only_when_asked(store, release, tmp_path):
    publish(store, release, "person")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("precious")
    with pytest.raises(CtgiError, match="out: is there and is not this release"):
        fetch(store, "person", 1, out)
    assert (out / "mine").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    for empty in (tmp_path / "new", tmp_path / "empty"):
        fetch(store, "person", 1, empty, replace=True)
        assert content(empty) == content(release)


def test_a_changed_file_of_a_fetched_release_is_noticed(store, release, tmp_path):
    publish(store, release, "person")
    out = fetch(store, "person", 1, tmp_path / "out").folder
    (out / "sub" / "tokenizer.json").write_text("[]")
    with pytest.raises(CtgiError, match="is not this release"):
        fetch(store, "person", 1, out)
    assert not fetch(store, "person", 1, out, replace=True).already and content(out) == content(release)


@pytest.mark.parametrize("version", ["2", 2, "latest", "pinned"])
def test_what_is_not_published_is_said(store, release, tmp_path, version):
    with pytest.raises(NotThere, match="ctgi release"):
        fetch(store, "nobody", version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_folders_that_cannot_be(store, release, tmp_path):
    for name in ("", "..", "a/b", "-x", "x" * 65, "ä"):
        with pytest.raises(CtgiError, match="no name"):
            publish(store, release, name)
    with pytest.raises(CtgiError, match="whole numbers from 1"):
        publish(store, release, "person", 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CtgiError, match="nothing to publish"):
        publish(store, tmp_path / "empty", "person")
    assert names(store) == []


def test_a_publish_that_was_interrupted_shows_nothing_and_goes_on(store, release, tmp_path):
    put = store.put

    def failing(key, *rest, **words):
        if key.startswith("manifests/"):
            raise CtgiError("the store went away")
        put(key, *rest, **words)

    store.put = failing
    with pytest.raises(CtgiError, match="went away"):
        publish(store, release, "person")
    assert names(store) == [] and versions(store, "person") == []
    with pytest.raises(NotThere):
        fetch(store, "person", "latest", tmp_path / "out")
    store.put = put
    done = publish(store, release, "person")
    assert (done.sent, done.found) == (2, 300_000)
    assert content(fetch(store, "person", 1, tmp_path / "out").folder) == content(release)


def test_a_quicker_publisher_of_other_content_wins(store, release, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(release, other)
    change(other, "other")

    quicker = [other]

    def overtaken(folder):
        def layout(version):
            if quicker:
                publish(store, quicker.pop(), "person", version)
            return [Item.of("model.onnx", (folder / "model.onnx").read_bytes(), "model.onnx")]

        return layout

    with pytest.raises(AlreadyThere, match="publish without a version"):
        publish(store, release, "person", 1, arrange=overtaken)
    assert content(fetch(store, "person", 1, tmp_path / "got").folder) == content(other)
    # Without a version the next free one is taken.
    change(other, "another")
    store = open_store(f"{store.url}-2")
    quicker.append(other)
    assert publish(store, release, "person", arrange=overtaken).manifest.version == 2


def test_a_damaged_object_is_found(store, release, tmp_path):
    done = publish(store, release, "person").manifest
    assert list(verify(store, done)) == []
    key = f"{done.prefix}/model.onnx"
    store.put(key, b"\0" * 300_000)
    with pytest.raises(Damaged, match="model.onnx: its SHA-256"):
        fetch(store, "person", 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    store.delete(f"{done.prefix}/sub/tokenizer.json")
    found = list(verify(store, done))
    assert len(found) == 2 and "is damaged" in found[0] and "tokenizer.json: is missing" in found[1]
    # Once the damaged one is deleted, publishing again brings both back.
    store.delete(key)
    assert publish(store, release, "person").already
    assert content(fetch(store, "person", 1, tmp_path / "out").folder) == content(release)


def test_pins_name_versions(store, release):
    publish(store, release, "person")
    change(release, "2")
    publish(store, release, "person")
    pin(store, "person", 1)
    pin(store, "person", 2, "candidate")
    assert pins(store, "person") == {"candidate": 2, "pinned": 1}
    assert (
        resolve(store, "person", "pinned").version == 1 and resolve(store, "person", "candidate").version == 2
    )
    pin(store, "person", 2)
    assert resolve(store, "person", "pinned").version == 2
    unpin(store, "person", "candidate")
    with pytest.raises(NotThere, match="no pin 'candidate'"):
        resolve(store, "person", "candidate")
    with pytest.raises(NotThere, match="no pin 'candidate'"):
        unpin(store, "person", "candidate")
    with pytest.raises(NotThere, match="no version 9"):
        pin(store, "person", 9)
    for label in ("latest", "7", "a/b"):
        with pytest.raises(CtgiError, match="no (label|name)"):
            pin(store, "person", 1, label)
    assert pins(store, "person") == {"pinned": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "ctgi.manifest.v9"},
        {"prefix": "../elsewhere"},
        {"files": [{"key": "a", "path": "../../etc/cron.d/x", "size": 1, "sha256": "0"}]},
        {"files": [{"key": "a", "path": "a", "size": 1, "sha256": "0"}]},
        {"files": 5},
        {"surplus": 1},
        None,
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, release, change):
    """Nor does one lead out of the folder that is written."""
    store = open_store(str(tmp_path / "store"))
    manifest = publish(store, release, "person").manifest
    key = manifest_key("person", 1)
    changed = {**json.loads(store.read(key)), **change} if change is not None else []
    store.put(key, json.dumps(changed).encode())
    with pytest.raises(CtgiError, match="1.json: not a release's manifest"):
        fetch(store, "person", 1, tmp_path / "out")
    assert Manifest.decode(manifest.encode(), "") == manifest


def test_content_is_known_by_keys_paths_and_digests(tmp_path, release):
    store = open_store(str(tmp_path / "store"))
    manifest = publish(store, release, "person").manifest
    lines = sorted(f"{name}\n{name}\n{bytes_sha256(data)}\n" for name, data in content(release).items())
    assert manifest.content == bytes_sha256("".join(lines).encode())
    assert manifest.prefix == f"releases/person/1-{manifest.content[:16]}"
    assert read_manifest(store, "person", 1) == manifest
