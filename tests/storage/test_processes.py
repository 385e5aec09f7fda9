"""Several publishers and fetchers as processes, and kill -9 in the middle of either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctgi.storage.fetch import fetch
from ctgi.storage.opening import open_store
from ctgi.storage.releases import names, publish, resolve, verify
from ctgi.storage.store import NotThere
from tests.storage.fault_proxy import Fault, fault_proxy

ROOT = Path(__file__).resolve().parents[2]
PUBLISH = """
import pathlib, sys, time
from ctgi.errors import CtgiError
from ctgi.storage.releases import publish
from ctgi.storage.opening import open_store
url, folder, version, start = sys.argv[1:]
store = open_store(url)
time.sleep(max(0, float(start) - time.time()))
try:
    done = publish(store, pathlib.Path(folder), "person", int(version) or None)
    print("already" if done.already else "published", done.manifest.version, done.sent, done.found)
except CtgiError as error:
    print("refused", error)
"""
FETCH = """
import pathlib, sys
from ctgi.storage.fetch import fetch
from ctgi.storage.opening import open_store
done = fetch(open_store(sys.argv[1]), "person", "latest", pathlib.Path(sys.argv[2]))
print("already" if done.already else "fetched")
"""


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path, monkeypatch):
    """The URL of a store that other processes of this environment can open."""
    if request.param == "folder":
        return str(tmp_path / "store")
    server = request.getfixturevalue("s3_server")
    server.into(monkeypatch)
    return server.url("processes")


def process(code, *words, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(running):
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    return out.split()


def release_of(folder, seed, size=200_000):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(seed * size)
    (folder / "release.json").write_bytes(seed)
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("version", [7, 0])
def test_of_racing_publishers_one_wins_a_version(place, tmp_path, version):
    """With a number one is published and the others are told; without one each gets its own."""
    folders = [release_of(tmp_path / str(n), b"%d" % n) for n in range(4)]
    start = time.time() + 3
    told = [said(one) for one in [process(PUBLISH, place, folder, version, start) for folder in folders]]
    store = open_store(place)
    if version:
        [winner] = [number for number, words in enumerate(told) if words[0] == "published"]
        losers = [" ".join(words) for words in told if words[0] == "refused"]
        assert len(losers) == 3 and all("publish without a version" in line for line in losers)
        assert content(fetch(store, "person", 7, tmp_path / "got").folder) == content(folders[winner])
    else:
        assert [words[0] for words in told] == ["published"] * 4
        assert sorted(int(words[1]) for words in told) == [1, 2, 3, 4]
        for folder, words in zip(folders, told, strict=True):
            got = fetch(store, "person", words[1], tmp_path / f"got{words[1]}")
            assert content(got.folder) == content(folder)


@pytest.mark.slow
def test_publishers_of_the_same_content_agree(place, tmp_path):
    folder = release_of(tmp_path / "release", b"x")
    start = time.time() + 3
    told = [said(one) for one in [process(PUBLISH, place, folder, 1, start) for _ in range(3)]]
    assert sorted(words[0] for words in told).count("published") == 1
    assert all(words[0] in ("published", "already") and words[1] == "1" for words in told)
    assert list(verify(open_store(place), resolve(open_store(place), "person"))) == []


@pytest.mark.slow
def test_a_publisher_killed_with_9_leaves_nothing_visible(s3_server, tmp_path, monkeypatch):
    s3_server.into(monkeypatch)
    url, folder = s3_server.url("killed"), release_of(tmp_path / "release", b"x", 1 << 20)
    (folder / "second.onnx").write_bytes(b"y" * (8 << 20))
    slow = Fault(rate=2 << 20)
    with fault_proxy(s3_server.endpoint, lambda *_: slow) as proxy:
        running = process(PUBLISH, url, folder, 0, 0, CTGI_S3_ENDPOINT=proxy.endpoint)
        wait_until(lambda: proxy.passed > 3 << 20)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    store = open_store(url)
    assert names(store) == []
    with pytest.raises(NotThere):
        fetch(store, "person", "latest", tmp_path / "out")
    words = said(process(PUBLISH, url, folder, 0, 0))
    assert words[:2] == ["published", "1"] and int(words[3]) == 1 << 20  # what was whole is not sent again
    assert content(fetch(store, "person", "latest", tmp_path / "out").folder) == content(folder)


@pytest.mark.slow
def test_a_fetcher_killed_with_9_leaves_nothing_and_goes_on(s3_server, tmp_path, monkeypatch):
    s3_server.into(monkeypatch)
    url, folder = s3_server.url("killed"), release_of(tmp_path / "release", b"x", 8 << 20)
    publish(open_store(url), folder, "person")
    out = tmp_path / "there" / "out"
    slow = Fault(rate=2 << 20)
    with fault_proxy(s3_server.endpoint, lambda *_: slow) as proxy:
        running = process(FETCH, url, out, CTGI_S3_ENDPOINT=proxy.endpoint)
        wait_until(lambda: proxy.passed > 4 << 20)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert not out.exists()
        proxy.script, proxy.passed = lambda *_: None, 0
        # Two at once: one goes on where the killed one stopped, the other waits for it.
        both = [process(FETCH, url, out, CTGI_S3_ENDPOINT=proxy.endpoint) for _ in range(2)]
        assert sorted(said(one)[0] for one in both) == ["already", "fetched"]
        assert proxy.passed < 6 << 20
    assert content(out) == content(folder) and os.listdir(out.parent) == ["out"]
