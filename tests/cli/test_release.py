"""`ctgi release …` as a person types it, right and wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ctgi.cli.main import main
from ctgi.export.release import FILES, Release, fingerprint
from tests.storage.seaweed import SECRET_KEY, s3_server

__all__ = ["s3_server"]


@pytest.fixture
def release(tmp_path):
    """A folder as `ctgi export` writes it; nothing here looks into the models."""
    folder = tmp_path / "release"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(name.encode() * 50)
    spec = {"height": 384, "width": 128, "resample": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "preprocess.json").write_text(json.dumps(spec))
    release = Release(
        "person", "1", fingerprint(folder), 512, 248, {"R@1": 54.2}, {}, {"epoch": "3"}, "2026-11-01"
    )
    release.save(folder)
    return folder


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        (tmp_path / "store").mkdir()
        return str(tmp_path / "store")
    server = request.getfixturevalue("s3_server")
    server.into(monkeypatch)
    return server.url("cli")


@pytest.fixture
def ctgi(capsys):
    """Run a command; what it printed. A complaint raises AssertionError with its line."""

    def run(*words):
        code = main(["release", *map(str, words)])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out

    return run


@pytest.fixture
def refused(capsys):
    def run(*words, command="release"):
        assert main([command, *map(str, words)]) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and "Traceback" not in shown
        return shown

    return run


def test_from_publish_to_gc(ctgi, release, store, tmp_path):
    assert "nothing is published there" in ctgi("list", "--store", store)
    assert "person 1: published" in ctgi("publish", release, "--store", store)
    assert "was published before" in ctgi("publish", release, "--store", store)
    said = json.loads(release.joinpath("release.json").read_text())
    release.joinpath("release.json").write_text(json.dumps({**said, "mti": {"threshold": 0.4}}))
    assert "person 2: published" in ctgi("publish", release, "--store", store)
    ctgi("pin", "person", "--version", "1", "--store", store)
    listed = ctgi("list", "--store", store).splitlines()
    assert len(listed) == 2 and listed[0].endswith("pinned") and said["fingerprint"][:12] in listed[1]
    assert "fetched and checked" in ctgi("fetch", "person", "--store", store, "--out", tmp_path / "got")
    got = Release.load(tmp_path / "got")
    assert got.version == "2" and got.mti == {"threshold": 0.4}
    ctgi("fetch", "person", "--version", "pinned", "--store", store, "--out", tmp_path / "old")
    models = tmp_path / "models"
    assert "version 2 from" in ctgi("repository", tmp_path / "old", tmp_path / "got", "--out", models)
    assert sorted(p.name for p in (models / "text_encoder").iterdir() if p.is_dir()) == ["1", "2", "configs"]
    assert "all 16 objects are what was published" in ctgi("verify", "person", "--store", store)
    would = ctgi("gc", "person", "--keep", "1", "--older-than", "0", "--store", store)
    assert "1  stays: pinned as pinned" in would and "say --apply" in would
    ctgi("pin", "person", "--remove", "--store", store)
    gc = ("gc", "person", "--keep", "1", "--older-than", "0", "--store", store)
    assert "1  would go" in ctgi(*gc) and len(ctgi("list", "--store", store).splitlines()) == 2
    assert "1  deleted" in ctgi(*gc, "--apply") and len(ctgi("list", "--store", store).splitlines()) == 1
    told = ctgi("lineage", "person", "--store", store)
    assert told.startswith("release person 2026-11-01") and "R@1 54.2" in told


def test_figures_as_json(ctgi, release, tmp_path):
    ctgi("publish", release, "--store", tmp_path / "s", "--json", tmp_path / "out.json", "--name", "other")
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["command"], figures["action"], figures["manifest"]["version"]) == (
        "release",
        "publish",
        1,
    )
    assert figures["manifest"]["facts"]["metrics"] == {"R@1": 54.2}


def test_settings_from_a_file(ctgi, release, tmp_path):
    """A setting that another action needs may stand in the file."""
    (tmp_path / "ctgi.yaml").write_text(f"release:\n  store: {tmp_path / 's'}\n  keep: 2\n")
    assert "published" in ctgi("publish", release, "--config", tmp_path / "ctgi.yaml")


@pytest.mark.parametrize(
    "words, said",
    [
        (["publish"], "write: ctgi release publish FOLDER"),
        (["publish", "a", "b"], "write: ctgi release publish FOLDER"),
        (["sell", "a"], "invalid choice"),
        (["publish", "nowhere", "--store", "s"], "no release there"),
        (["publish", "nowhere"], "no store was named"),
        (["fetch", "person", "--store", "s"], "--out FOLDER"),
        (["fetch", "person", "--store", "s", "--out", "o"], "no release person is published"),
        (["fetch", "person", "--store", "s", "--out", "o", "--version", "x"], "no pin 'x'"),
        (["pin", "person", "--store", "s"], "--version N"),
        (["pin", "person", "--store", "s", "--version", "new"], "a whole number from 1"),
        (["pin", "person", "--store", "s", "--version", "3"], "has no version 3"),
        (["gc", "person", "--store", "s", "--version", "3"], "gc has no option --version"),
        (["gc", "person", "--store", "s", "--keep", "0"], "--keep 0: keep at least the last version"),
        (["gc", "person", "--store", "s", "--keep", "-1"], "--keep -1: keep at least the last version"),
        (
            ["gc", "person", "--store", "s", "--older-than", "nan"],
            "--older-than nan: a number of days from 0",
        ),
        (["gc", "person", "--store", "s", "--older-than", "1e99"], "--older-than 1e+99: a number of days"),
        (["gc", "person", "--store", "s", "--older-than", "-1"], "--older-than -1: a number of days"),
        (["gc", "person", "--store", "s"], "s: no such folder; check --store"),
        (["gc", "person", "--store", "."], "no release person is published there"),
        (["list", "--store", "s"], "s: no such folder; check --store"),
        (["list", "person", "--store", "."], "no release person is published there"),
        (["list", "--store", "file"], "file: is a file, no store"),
        (["publish", "nowhere", "--store", "file"], "file: is a file, no store"),
        (["gc", "person", "--store", "s", "--keep", "many"], "invalid int"),
        (["verify", "../x", "--store", "s"], "no name for a release"),
        (["lineage", "nowhere"], "no lineage record there"),
        (["list", "--store", "s3://bucket/x"], "no S3 endpoint"),
        (["list", "--store", "s3://me:hush@bucket"], "carries credentials"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(refused, tmp_path, monkeypatch, words, said):
    for name in ("CTGI_S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    line = refused(*words)
    assert said in line and "hush" not in line


def test_a_damaged_release_is_not_published_and_a_damaged_object_is_told(ctgi, refused, release, tmp_path):
    store = tmp_path / "store"
    ctgi("publish", release, "--store", store)
    [model] = store.glob("releases/person/*/text_encoder/1/model.onnx")
    model.write_bytes(b"rot")
    assert "1 of 16 objects are damaged or missing" in refused("verify", "person", "--store", store)
    (release / "tokenizer.json").write_text("rot")
    assert "changed or damaged" in refused("publish", release, "--store", store, "--version", "2")


def test_an_empty_name_and_a_version_that_triton_cannot_have(refused, release, tmp_path):
    assert "'': no name for a release" in refused("publish", release, "--store", tmp_path / "s", "--name", "")
    said = json.loads((release / "release.json").read_text())
    (release / "release.json").write_text(json.dumps({**said, "version": "2026-11"}))
    line = refused("repository", release, "--out", tmp_path / "models")
    assert f"{release}: its version is '2026-11', and Triton's are whole numbers from 1" in line
    for words, what in (
        (("--release-version", "abc"), "'abc': give a whole number from 1"),
        (("--release-version", "0"), "'0': give a whole number from 1"),
        (("--name", ""), "'': no name for a release"),
    ):
        assert what in refused_export(refused, *words)


def refused_export(refused, *words):
    return refused("best", "--out", "new", *words, command="export")


def test_fetch_does_not_replace_what_is_no_release(ctgi, refused, release, tmp_path):
    store, precious = tmp_path / "store", tmp_path / "precious"
    ctgi("publish", release, "--store", store)
    (precious / "train").mkdir(parents=True)
    (precious / "train" / "thesis.txt").write_text("mine")
    words = ("fetch", "person", "--store", store, "--out")
    assert "nor can it be replaced: 'train' in it is not of a release" in refused(
        *words, precious, "--replace"
    )
    assert (precious / "train" / "thesis.txt").read_text() == "mine"
    # A release that was exported here, and one that was fetched as a repository, are.
    assert "ask to replace it (--replace)" in refused(*words, release)
    assert "fetched and checked" in ctgi(*words, release, "--replace")
    layout = ("--layout", "repository", "--replace")
    assert "fetched and checked" in ctgi(*words, release, *layout)
    assert "fetched and checked" in ctgi(*words, release, "--replace")


def test_no_secret_is_shown_or_on_a_command_line(s3_server, release):
    """Neither when it works nor when the server refuses, with everything written down that can be."""
    for secret in (SECRET_KEY, "not-the-secret-hush"):
        environment = s3_server.environment(CTGI_S3_SECRET_KEY=secret, CTGI_S3_PATIENCE="1", PYTHONPATH=".")
        code = (
            "import logging, sys; logging.basicConfig(level=1); from ctgi.cli.main import main; "
            "sys.exit(main(sys.argv[1:]))"
        )
        words = [
            sys.executable,
            "-c",
            code,
            "release",
            "publish",
            str(release),
            "--store",
            s3_server.url("quiet"),
        ]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == (0 if secret == SECRET_KEY else 2)
        assert secret not in done.stdout + done.stderr
