"""What both kinds of store promise, shown on a folder and on a real S3 server."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.storage.opening import open_store
from ctgi.storage.store import AlreadyThere, Damaged, NotThere, check_key, check_store
from tests.storage.seaweed import READER, READER_SECRET


def test_what_is_put_is_read(store, tmp_path):
    store.put("a/one", b"1")
    store.put("a/empty", b"")
    (tmp_path / "file").write_bytes(b"\0\1" * 5000)
    store.put("b/file with spaces ä+%.bin", tmp_path / "file")
    assert store.read("a/one") == b"1" and store.read("a/empty") == b""
    assert store.read("b/file with spaces ä+%.bin") == b"\0\1" * 5000
    store.put("a/one", b"two")
    assert store.read("a/one") == b"two"
    entry = store.stat("a/one")
    assert (entry.key, entry.size, entry.sha256) == ("a/one", 3, hashlib.sha256(b"two").hexdigest())
    assert abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5)
    assert [(e.key, e.size) for e in store.list()] == [
        ("a/empty", 0),
        ("a/one", 3),
        ("b/file with spaces ä+%.bin", 10000),
    ]
    assert [e.key for e in store.list("a/")] == ["a/empty", "a/one"] and list(store.list("c/")) == []
    store.delete("a/one")
    store.delete("a/one")
    assert not store.exists("a/one") and store.exists("a/empty")


def test_hidden_names_are_not_listed(store):
    store.put("a/one", b"1")
    for name in (".DS_Store", "a/.part", ".hidden/one"):
        if (root := getattr(store, "root", None)) is not None:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"")
        else:
            store._client._put_object(store.bucket, f"{store._prefix}{name}", b"", {})
    assert [entry.key for entry in store.list()] == [entry.key for entry in store.list("a/")] == ["a/one"]


def test_what_is_not_there_is_said(store, tmp_path):
    assert store.stat("nothing") is None
    for call in (lambda: store.read("nothing"), lambda: store.get("nothing", tmp_path / "out")):
        with pytest.raises(NotThere, match="nothing is kept under nothing; see"):
            call()
    assert not (tmp_path / "out").exists()
    with pytest.raises(CtgiError, match="no-such-file: cannot be read"):
        store.put("a", tmp_path / "no-such-file")


def test_a_large_file_goes_in_parts_and_comes_back(store, tmp_path, monkeypatch):
    monkeypatch.setattr("ctgi.storage.s3.PART", 5 << 20)  # the least that S3 allows
    data = os.urandom(11 << 20)  # three parts
    (tmp_path / "big").write_bytes(data)
    told = []
    store.put("big", tmp_path / "big", progress=told.append)
    assert sum(told) == len(data) and len(told) > 2
    assert store.stat("big").sha256 == hashlib.sha256(data).hexdigest()
    told.clear()
    store.get("big", tmp_path / "got" / "big", progress=told.append)
    assert (tmp_path / "got" / "big").read_bytes() == data and sum(told) == len(data)
    assert os.listdir(tmp_path / "got") == ["big"]


def test_a_digest_that_is_not_that_of_the_source_is_refused(store, tmp_path):
    for source in (b"changed", tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"changed")
        with pytest.raises(CtgiError, match="changed while it was"):
            store.put("key", source, sha256=hashlib.sha256(b"before").hexdigest())
    assert not store.exists("key")


def test_other_content_than_expected_is_damage(store, tmp_path):
    store.put("key", b"content")
    wrong = hashlib.sha256(b"other").hexdigest()
    for call in (
        lambda: store.read("key", sha256=wrong),
        lambda: store.get("key", tmp_path / "out", sha256=wrong),
    ):
        with pytest.raises(Damaged, match="SHA-256 is .* the object is damaged"):
            call()
    assert not any(tmp_path.glob("*out*"))


def test_of_many_that_create_a_key_one_succeeds(store):
    def create(number):
        try:
            store.put("once", b"%d" % number, only_if_absent=True)
        except AlreadyThere as error:
            assert "once is taken" in str(error)
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(create, range(16)) if number is not None]
    assert len(winners) == 1 and store.read("once") == b"%d" % winners[0]
    assert [e.key for e in store.list()] == ["once"]


def test_the_check_leaves_nothing(store):
    check_store(store)
    assert list(store.list()) == []


def test_the_check_finds_a_store_that_does_not_create_conditionally(tmp_path):
    store = open_store(str(tmp_path))
    put = store.put
    store.put = lambda key, source, only_if_absent=False: put(key, source)  # as old S3 servers do
    with pytest.raises(CtgiError, match="ignores conditional writes"):
        check_store(store)
    assert list(store.list()) == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a\\b", "a\nb", "x" * 901]
)
def test_keys_that_could_leave_the_store_are_refused(store, key):
    for call in (store.read, store.delete, store.stat, lambda k: store.put(k, b"")):
        with pytest.raises(CtgiError, match="not a key"):
            call(key)


@given(st.text(min_size=1, max_size=30))
def test_a_key_is_taken_or_refused_with_one_line(text):
    try:
        assert check_key(text) == text
    except CtgiError as error:
        assert "\n" not in str(error)
    else:
        assert not any(part in ("", ".", "..") for part in text.split("/"))


@pytest.mark.parametrize(
    "url, said",
    [
        ("", "no store"),
        ("ftp://host/x", "no store"),
        ("s3://", "not an S3 store"),
        ("s3://bucket/a/../b", "not an S3 store"),
        ("s3://bucket/x?versionId=1", "not an S3 store"),
        ("file://host/x", "not a folder"),
        ("s3://key:hush@bucket/x", "carries credentials"),
    ],
)
def test_urls_that_are_no_stores(url, said):
    with pytest.raises(CtgiError, match=said) as error:
        open_store(url)
    assert "hush" not in str(error.value)


def test_a_file_url_is_a_folder(tmp_path):
    open_store(f"file://{tmp_path}/with%20space").put("a", b"1")
    assert (tmp_path / "with space" / "a").read_bytes() == b"1"


def test_bit_rot_in_a_folder_is_found(tmp_path):
    store = open_store(str(tmp_path))
    store.put("a", b"content")
    if store.stat("a").sha256 is None:
        pytest.skip("this file system keeps no extended attributes")
    (tmp_path / "a").write_bytes(b"contemt")
    with pytest.raises(Damaged):
        store.read("a")


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CtgiError, match="cannot be written"):
        open_store(str(tmp_path / "file" / "store")).put("a", b"1")
    for url in (str(tmp_path / "file"), f"file://{tmp_path}/file"):
        with pytest.raises(CtgiError, match="file: is a file, no store"):
            open_store(url)


def test_what_a_killed_writer_left_is_found_by_its_age(store, tmp_path, s3_server):
    if (root := getattr(store, "root", None)) is not None:
        root.mkdir()
        (root / ".one.abc.whole").write_bytes(b"half")
        (root / ".keep").write_bytes(b"")
    else:
        store._client._create_multipart_upload(store.bucket, f"{store._prefix}one", {})
    assert list(store.abandoned(timedelta(hours=1))) == []
    left = list(store.abandoned(timedelta(seconds=-5)))
    assert len(left) == 1 and "one" in left[0][0]
    left[0][1]()
    assert list(store.abandoned(timedelta(seconds=-5))) == [] and list(store.list()) == []


class TestWhoMayNot:
    """403, and no trace of a secret."""

    @pytest.mark.parametrize(
        "changed, said",
        [
            ({"CTGI_S3_ACCESS_KEY": READER, "CTGI_S3_SECRET_KEY": READER_SECRET}, "has no right to do this"),
            ({"CTGI_S3_ACCESS_KEY": "stranger"}, "does not know the access key"),
            ({"CTGI_S3_SECRET_KEY": "wrong-and-hush"}, "does not accept the secret"),
        ],
    )
    def test_is_told_what_to_do(self, s3_server, monkeypatch, changed, said):
        s3_server.into(monkeypatch, **changed)
        store = open_store(s3_server.url("denied"))
        with pytest.raises(CtgiError, match=said) as error:
            store.put("a", b"1")
        with pytest.raises(CtgiError, match=said):
            check_store(store)
        shown = f"{error.value} {error.value.__cause__!r} {store!r} {store._settings!r}"
        assert "hush" not in shown and READER_SECRET not in shown

    def test_a_reader_reads(self, s3_server, monkeypatch):
        s3_server.into(monkeypatch)
        url = s3_server.url("shared")
        open_store(url).put("a", b"1")
        s3_server.into(monkeypatch, CTGI_S3_ACCESS_KEY=READER, CTGI_S3_SECRET_KEY=READER_SECRET)
        assert open_store(url).read("a") == b"1" and [e.key for e in open_store(url).list()] == ["a"]

    def test_no_such_bucket(self, s3_server, monkeypatch):
        s3_server.into(monkeypatch, CTGI_S3_ACCESS_KEY=READER, CTGI_S3_SECRET_KEY=READER_SECRET)
        with pytest.raises(CtgiError, match="no such bucket"):
            list(open_store("s3://not-made/x").list())
        with pytest.raises(CtgiError, match="name another bucket"):
            list(open_store("s3://Not_A_Bucket!/x").list())
