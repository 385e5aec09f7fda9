"""Which versions are collected, and what may happen meanwhile; on a folder and on a real S3 server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.collect import Policy, collect
from ctgi.storage.manifest import manifest_key
from ctgi.storage.releases import pin, publish, resolve, verify, versions

NOW = timedelta()


def change(folder, text):
    (folder / "sub" / "tokenizer.json").write_text(text)


def test_the_policy_keeps_the_last_the_pinned_and_the_young(store, release):
    for number in range(1, 6):
        change(release, str(number))
        publish(store, release, "person")
    publish(store, release, "other")
    pin(store, "person", 2, "serving")
    before = [entry.key for entry in store.list()]
    assert collect(store, "person").versions == ()  # all are young
    policy = Policy(keep_last=2, older_than=NOW)
    said = collect(store, "person", policy)
    assert said.versions == (1, 3) and said.size > 600_000 and said.leftovers == ()
    assert said.kept == {2: "pinned as serving", 4: "among the last 2", 5: "among the last 2"}
    assert [entry.key for entry in store.list()] == before  # only said
    done = collect(store, "person", policy, dry_run=False)
    assert (done.versions, done.size) == (said.versions, said.size)
    assert [manifest.version for manifest in versions(store, "person")] == [2, 4, 5]
    assert len([key for key in before if "/person/" in key]) - 6 == len(
        [entry for entry in store.list() if "/person/" in entry.key]
    )
    for manifest in [*versions(store, "person"), *versions(store, "other")]:
        assert list(verify(store, manifest)) == []
    assert collect(store, "person", policy, dry_run=False).versions == ()


def test_leftovers_go_when_nobody_can_be_publishing(store, release):
    publish(store, release, "person")
    store.put("releases/person/2-0123456789abcdef/model.onnx", b"half")
    store.put("check/0123", b"killed while it tried the store")
    assert collect(store, "person").leftovers == ()
    later = datetime.now(UTC) + timedelta(days=2)
    left = ("releases/person/2-0123456789abcdef", "check/0123")
    assert collect(store, "person", now=later).leftovers == left and store.exists("check/0123")
    assert collect(store, "person", now=later, dry_run=False).size == 4 + 31
    assert not store.exists("releases/person/2-0123456789abcdef/model.onnx")
    assert not store.exists("check/0123")
    assert list(verify(store, resolve(store, "person"))) == []


def test_a_pin_that_comes_while_a_version_is_collected_saves_it(store, release):
    publish(store, release, "person")
    change(release, "2")
    publish(store, release, "person")
    delete = store.delete

    def pinned_just_before(key):
        if key == manifest_key("person", 1):
            pin(store, "person", 1)
        delete(key)

    store.delete = pinned_just_before
    done = collect(store, "person", Policy(1, NOW), dry_run=False)
    assert done.versions == () and done.kept[1] == "pinned as pinned"
    assert list(verify(store, resolve(store, "person", "pinned"))) == []


def test_a_policy_that_would_leave_nothing_is_refused():
    with pytest.raises(CtgiError, match="keep at least the last version"):
        Policy(keep_last=0)
