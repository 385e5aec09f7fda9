"""The workspace: a folder, or an object store that is mirrored while a step runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.workspace import HEADS, State, Workspace, _Mirror
from ctgi.errors import CtgiError
from ctgi.gallery.index import Gallery
from ctgi.storage.opening import open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["folder", "s3"])
def workspace(
    request: pytest.FixtureRequest, tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    s3_server.into(monkeypatch)
    return Workspace(str(tmp_path / "work") if request.param == "folder" else s3_server.url("work"))


def test_files_are_there_the_next_time(workspace: Workspace) -> None:
    assert workspace.read("a/b.json") is None
    workspace.write("a/b.json", b"1")
    assert workspace.read("a/b.json") == b"1"
    workspace.remove("a/b.json")
    workspace.remove("a/b.json")
    assert workspace.read("a/b.json") is None


def test_a_folder_keeps_what_was_written_even_when_the_step_failed(workspace: Workspace) -> None:
    from ctgi.mllm.cache import ReplyCache

    with pytest.raises(RuntimeError), workspace.folder("step") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "one.txt").write_text("1", encoding="utf-8")
        ReplyCache(folder / "replies.sqlite")  # left open, as a killed step does
        raise RuntimeError("stop")
    with workspace.folder("step") as folder:
        assert (folder / "deep" / "one.txt").read_text(encoding="utf-8") == "1"
        assert len(ReplyCache(folder / "replies.sqlite")) == 0
    with workspace.folder("step", ["deep/one.txt", "nothing.txt"]) as folder:
        assert (folder / "deep" / "one.txt").is_file() and not (folder / "nothing.txt").exists()


@pytest.mark.parametrize("url", ["relative", "", "http://x/y"])
def test_a_place_that_not_every_step_sees_is_refused(url: str) -> None:
    with pytest.raises(CtgiError, match="absolute path"):
        Workspace(url)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CtgiError, match="file"), Workspace(str(tmp_path / "file")).folder("x"):
        pass


def test_what_a_killed_step_wrote_is_in_the_object_store_after_a_moment(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.into(monkeypatch)
    work = Workspace(s3_server.url("killed"))
    code = (
        "import sys, time; from components import workspace as w; w.EVERY = 0.1\n"
        "with w.Workspace(sys.argv[1]).folder('step') as folder:\n"
        "    (folder / 'record.json').write_text('paid for')\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, work.url], cwd=ROOT)
    deadline = time.monotonic() + 30
    while work.read("step/record.json") is None and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert work.read("step/record.json") == b"paid for"


class Busy:
    """A store beside which the step goes on: before every call that changes it a picture is added to the
    gallery here, and after it a gallery that opens has to be there."""

    def __init__(self, place: Path, gallery: Gallery) -> None:
        self._store, self._place, self._gallery = open_store(str(place)), place, gallery
        self.opened, self.ended = 0, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, source: Path) -> None:
        self.go_on()
        self._store.put(key, source)
        self._look()

    def delete(self, key: str) -> None:
        self.go_on()
        self._store.delete(key)
        self._look()

    def go_on(self) -> None:
        if not self.ended:
            add(self._gallery, len(self._gallery))

    def _look(self) -> None:
        if (self._place / "manifest.json").exists():
            self.opened += 1
            assert len(Gallery.open(self._place, "f")) <= len(self._gallery)


def add(gallery: Gallery, number: int) -> None:
    gallery.upsert([f"{number:064x}"], np.eye(1, 4, dtype=np.float32), [{}])


class Hurried(_Mirror):
    """The step also goes on while the mirror takes what there is, every other time."""

    taken = 0

    def _take(self, seen: dict[str, State], into: Path) -> dict[str, Path]:
        heads = {name: state for name, state in seen.items() if name.endswith(HEADS)}
        rest = super()._take({name: state for name, state in seen.items() if name not in heads}, into)
        self.taken += 1
        if self.taken % 2:
            self.store.go_on()
        return rest | super()._take(heads, into)


KINDS = pytest.mark.parametrize("kind", [_Mirror, Hurried])


@KINDS
def test_a_gallery_in_the_object_store_opens_at_every_moment(tmp_path: Path, kind: type[_Mirror]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    gallery = Gallery.create(here, "f", 4)
    busy = Busy(there, gallery)
    mirror = kind(busy, here)
    for number in range(4):
        mirror.send()
        add(gallery, 100 + number)
    assert busy.opened > 8
    busy.ended = True
    mirror.send()
    assert Gallery.open(there, "f").ids == gallery.ids
    folders = [sorted(path.name for path in place.iterdir() if path.is_dir()) for place in (here, there)]
    assert folders[0] == folders[1]  # what was swallowed is not there either


@KINDS
def test_a_training_run_in_the_object_store_is_not_ahead_of_its_best_epoch(
    tmp_path: Path, kind: type[_Mirror]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()

    class Training(Busy):
        def go_on(self) -> None:
            """What an epoch does, in its order; the best weights wait for the state that names them."""
            self.opened += 1
            for name in ("best.next", "log.jsonl", "last.safetensors"):
                (here / f"{name}.tmp").write_text(str(self.opened), encoding="utf-8")
                os.replace(here / f"{name}.tmp", here / name)
            os.replace(here / "best.next", here / "best")

        def _look(self) -> None:
            if (last := there / "last.safetensors").exists():
                for name in ("best", "log.jsonl"):
                    assert int((there / name).read_text()) >= int(last.read_text())

    busy = Training(there, Gallery.create(tmp_path / "none", "f", 4))
    mirror = kind(busy, here)
    for number in range(6):
        busy.go_on()
        (here / f"train-box-{number}.pixels").write_bytes(b"decoded here")
        mirror.send()
    assert busy.opened >= 15 and (there / "last.safetensors").exists()
    assert not list(there.glob("*.pixels"))


def test_replies_stay_in_the_object_store_while_their_database_is_opened_and_closed(tmp_path: Path) -> None:
    from ctgi.mllm.cache import ReplyCache

    here, store = tmp_path / "here", open_store(str(tmp_path / "there"))
    here.mkdir()
    mirror = _Mirror(store, here)
    for _ in range(3):
        cache = ReplyCache(here / "replies.sqlite")
        mirror.send()
        cache.close()
        mirror.send()
        assert [entry.key for entry in store.list()] == ["replies.sqlite"]
