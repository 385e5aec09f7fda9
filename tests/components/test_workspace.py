"""The workspace: a folder, or an object store that is mirrored while a step runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components.workspace import Workspace
from ctgi.errors import CtgiError

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
