"""Lineage records: what they say, that they carry their ancestors, and that a change shows."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from ctgi.errors import CtgiError
from ctgi.export import lineage as module
from ctgi.export.lineage import (
    chain,
    folder_sha256,
    git_revision,
    lineage,
    read_lineage,
    release_lineage,
    write_lineage,
)
from ctgi.export.release import Release


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Make an artifact and its record from others."""
    monkeypatch.setenv("CTGI_IMAGE_DIGEST", "sha256:1234")

    def make(name, *parents, **facts):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data").write_text(name)
        record = lineage(name, {parent.name: parent for parent in parents}, name=name, **facts)
        write_lineage(folder, record)
        return folder

    return make


def test_a_record_says_what_was_done_from_what(step, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(b"A")
    captions = step("captions", pictures, prompts={"judge": "judge@3"}, seed=7, metrics={"kept": 0.9})
    record = read_lineage(captions)
    assert (record["kind"], record["seed"], record["image"]) == ("captions", 7, "sha256:1234")
    assert record["prompts"] == {"judge": "judge@3"} and record["metrics"] == {"kept": 0.9}
    digest = hashlib.sha256(b"A").hexdigest()
    wanted = hashlib.sha256(f"a.png\n1\n{digest}\n".encode()).hexdigest()
    assert record["inputs"] == {"pictures": {"name": "pictures", "digest": f"sha256:{wanted}"}}
    assert json.loads((captions / "lineage.json").read_text()) == record  # readable by anything


def test_one_file_tells_the_whole_chain(step):
    captions = step("captions")
    checkpoint = step("checkpoint", captions)
    pool = step("pool", captions)
    release = step("release", checkpoint, pool)
    told = [(depth, record["kind"]) for depth, record in chain(read_lineage(release))]
    assert told == [(0, "release"), (1, "checkpoint"), (2, "captions"), (1, "pool")]


def test_a_digest_may_be_given_and_a_file_has_its_record_beside_it(tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"x")
    first = lineage("table", {"pictures": "sha256:abc"})
    assert write_lineage(tmp_path / "table.parquet", first).name == "table.parquet.lineage.json"
    second = lineage("other", {"table": tmp_path / "table.parquet"})
    assert second["parents"] == [first["id"]] and second["ancestors"][0]["inputs"] == {
        "pictures": {"digest": "sha256:abc"}
    }
    assert second["inputs"]["table"]["digest"] == f"sha256:{hashlib.sha256(b'x').hexdigest()}"


def test_a_path_whose_digest_is_known_is_not_read(step, tmp_path):
    captions = step("captions")
    (captions / "data").write_text("another digest would be found")
    record = lineage("checkpoint", {"captions": (captions, "sha256:known")})
    assert record["inputs"] == {"captions": {"name": "captions", "digest": "sha256:known"}}
    assert record["parents"] == [read_lineage(captions)["id"]]
    assert lineage("x", {"encoder": (tmp_path / "nowhere", "sha256:0")})["parents"] == []


def test_work_that_was_done_before_keeps_its_record(tmp_path, monkeypatch, fresh_revision):
    monkeypatch.setenv("CTGI_GIT_REVISION", "one")
    write_lineage(tmp_path, first := lineage("captions", {}, metrics={"rows": 1}))
    git_revision.cache_clear()
    monkeypatch.setenv("CTGI_GIT_REVISION", "two")
    write_lineage(tmp_path, lineage("captions", {}, metrics={"rows": 1}))
    assert read_lineage(tmp_path) == first
    write_lineage(tmp_path, lineage("captions", {}, metrics={"rows": 2}))
    assert (read_lineage(tmp_path)["metrics"], read_lineage(tmp_path)["git"]) == ({"rows": 2}, "two")
    (tmp_path / "lineage.json").write_text("{")
    write_lineage(tmp_path, first)
    assert read_lineage(tmp_path) == first


def test_a_folder_is_known_by_its_content_alone(step, tmp_path):
    one, before = step("one"), folder_sha256(tmp_path / "one")
    write_lineage(one, lineage("again", {}))
    (one / ".hidden").write_text("x")
    assert folder_sha256(one) == before
    (one / "data").rename(one / "date")
    assert folder_sha256(one) != before


def test_a_change_shows(step):
    release = step("release", step("captions", seed=1))
    path = release / "lineage.json"
    content = path.read_text()
    for old, new in (('"seed": 1', '"seed": 2'), ('"name": "release"', '"name": "other"')):
        assert old in content
        path.write_text(content.replace(old, new))
        with pytest.raises(CtgiError, match="was changed since it was written"):
            read_lineage(release)
    for wrong in ("[]", '{"schema": "other"}', "{", '{"schema": "ctgi.lineage.v1"}'):
        path.write_text(wrong)
        with pytest.raises(CtgiError, match="lineage.json"):
            read_lineage(release)
    path.unlink()
    with pytest.raises(CtgiError, match="no lineage record there"):
        read_lineage(release)


def test_what_json_does_not_have_is_refused():
    for value in (float("nan"), object()):
        with pytest.raises(CtgiError, match="lineage: .* record numbers"):
            lineage("x", {}, metrics={"R@1": value})


def test_an_input_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CtgiError, match="nothing: cannot be read"):
        lineage("x", {"a": tmp_path / "nothing"})


def test_a_release_without_a_record_has_one_that_is_always_the_same():
    release = Release(
        "person", "3", "f" * 64, 512, 248, {"R@1": 50.0}, {}, {"checkpoint": "best"}, "2026-11-01"
    )
    record = release_lineage(release)
    assert record == release_lineage(release) and record["made"] == "2026-11-01"
    assert record["settings"] == {"checkpoint": "best", "fingerprint": "f" * 64}


@pytest.fixture
def fresh_revision():
    git_revision.cache_clear()
    yield
    git_revision.cache_clear()


def test_the_revision_comes_from_the_image_or_the_checkout(monkeypatch, tmp_path, fresh_revision):
    monkeypatch.setenv("CTGI_GIT_REVISION", "abc123")
    assert git_revision() == "abc123"
    git_revision.cache_clear()
    monkeypatch.delenv("CTGI_GIT_REVISION")

    def git(*words):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # A checkout with a package in it that is not part of it, as an installed one in .venv: nobody's revision.
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "release.py").write_text("1")
    monkeypatch.setattr(module, "__file__", str(package / "lineage.py"))
    git("init", "--quiet")
    assert git_revision() is None
    git_revision.cache_clear()
    git("add", "src")
    git("commit", "--quiet", "--message", "first")
    assert git_revision() == git("rev-parse", "HEAD")
    git_revision.cache_clear()
    (package / "release.py").write_text("2")
    assert git_revision() == git("rev-parse", "HEAD") + "+changes"
