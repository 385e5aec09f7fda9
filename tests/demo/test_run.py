"""``python -m demo.run``: clear errors, and the whole loop at tiny sizes, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.models.launch import running
from demo.run import main
from demo.settings import FULL, SMALL
from tests.chat_server import ChatServer, Reply, chat_server

ROOT = Path(__file__).resolve().parents[2]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("demo: ")
    return error


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, nothing = str(tmp_path / "out"), str(tmp_path / "nothing")
    assert "no model there" in said(capsys, "--out", out, "--clip", nothing)
    assert "--threads 0" in said(capsys, "--out", out, "--threads", "0")
    (tmp_path / "file").write_text("")
    assert "file" in said(capsys, "--out", str(tmp_path / "file"))


def test_two_runs_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run" in said(capsys, "--out", str(tmp_path))


def test_the_sizes_hold_what_is_promised() -> None:
    assert sum(FULL.identities.values()) * FULL.pictures == 1400
    assert FULL.rounds == 6 and FULL.k == 20 and FULL.xi == 0.85  # the paper's, Sec. 4.2


def killed_when(there: Callable[[], bool], words: list[str]) -> None:
    """Run a command and kill it, and whatever it started, the moment something is there."""
    process = subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None and not there():
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert there()


@pytest.fixture
def counted() -> Iterator[ChatServer]:
    """The small Qwen2-VL's own server behind one that counts."""
    with running() as url:

        def ask(body: dict[str, Any], _: int) -> Reply:
            reply = httpx.post(f"{url}/chat/completions", json=body, timeout=120)
            return Reply(reply.json(), reply.status_code)

        with chat_server(ask) as server:
            yield server


@pytest.mark.slow
def test_the_whole_loop_killed_on_the_way_and_run_again(tmp_path: Path, counted: ChatServer) -> None:
    out = tmp_path / "demo"
    words = [sys.executable, "-m", "demo.run", "--small", "--threads", "1", "--out", str(out)]
    words += ["--server", counted.url]
    interviews = out / "captions" / "interviews"
    killed_when(lambda: interviews.is_dir() and any(interviews.iterdir()), words)
    killed_when((out / "records" / "measure-pretrained.json").exists, words)
    asked = Counter(counted.raw)
    assert len(asked) > 200
    assert asked.total() - len(asked) <= 2 * SMALL.concurrency  # what a kill cut off before it was answered

    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert again.returncode == 0, again.stderr[-2000:]
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    rows = results["table"]["rows"]
    assert {(row["mtg"], row["mti"], row["pes"]) for row in rows} == {
        (mtg, mti, pes) for mtg in (False, True) for mti in (False, True) for pes in (False, True)
    }
    for row in rows:
        for item in row["metrics"].values():
            assert 0 <= item["low"] <= item["value"] <= item["high"] <= 100
    release = json.loads((out / "release" / "release.json").read_text(encoding="utf-8"))
    assert release["mti"]["lam"] == results["mti"]["lam"] and release["context"] == 248
    assert len(results["searches"]) == 3 and results["alone"]["calls"] > 0
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/") > 10 and "http" not in report.replace("http://127.0.0.1:8100", "")

    start = time.monotonic()
    third = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert third.returncode == 0 and third.stdout.count("done before") == len(results["stages"])
    assert time.monotonic() - start < 60
    assert json.loads((out / "results.json").read_text(encoding="utf-8")) == results
