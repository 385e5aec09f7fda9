"""A captioning step on bad days: killed, run twice at once, its server restarted, its pictures broken."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components import shards
from components.caption_shard import interview
from components.workspace import Workspace
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.errors import CtgiError
from tests.chat_server import ChatServer, Reply, answer, chat_server, error
from tests.storage.seaweed import end_with_parent, free_ports

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 2


@pytest.fixture
def shard(tmp_path: Path) -> dict[str, str]:
    """Eight pictures as one planned shard."""
    folder, rng = tmp_path / "photos", np.random.default_rng(3)
    folder.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 255, (24, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 96)).save(folder / f"{number}.png")
    return planned(folder, tmp_path / "work")


def planned(folder: Path, work: Path) -> dict[str, str]:
    workspace = Workspace(str(work))
    [item] = shards.divide(shards.find(str(folder), "", "train", workspace).pictures, 100, workspace)
    return {"shard": item["shard"], "digest": item["digest"], "pictures": str(folder), "work": str(work)}


def start(shard: dict[str, str], server: str, out: Path) -> subprocess.Popen[str]:
    words = [part for name, value in shard.items() for part in (f"--{name}", value)]
    words += ["--server", server, "--model", "m", "--rounds", str(ROUNDS), "--concurrency", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "components.caption_shard", *words, "--outputs", str(out)],
        cwd=ROOT,
        env={**os.environ, "_KFP_RUNTIME": "true"},
        text=True,
        stderr=subprocess.PIPE,
    )


def finished(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    return said


class Gate:
    """A script that answers so many calls, then holds all until it is opened."""

    def __init__(self, answers: int) -> None:
        self.answers, self.held, self.open = answers, threading.Event(), threading.Event()

    def __call__(self, body: dict[str, Any], number: int) -> Reply:
        if number >= self.answers and not self.open.is_set():
            self.held.set()
            self.open.wait(120)
        return answer(body)


def settled(server: ChatServer, count: int) -> None:
    """Wait until so many answers have gone out, and a moment for them to be written down."""
    deadline = time.monotonic() + 30
    while len(server.answered) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.7)


@pytest.mark.parametrize("answers", [3, 17])
def test_kill_9_and_again_asks_nothing_twice(shard: dict[str, str], tmp_path: Path, answers: int) -> None:
    gate = Gate(answers)
    with chat_server(gate) as server:
        process = start(shard, server.url, tmp_path / "out")
        assert gate.held.wait(120)
        settled(server, answers)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(server.answered) == answers
        answered, before = list(server.answered), len(server.asked)
        gate.open.set()
        finished(start(shard, server.url, tmp_path / "out"))
        asked = [json.dumps(body["messages"], sort_keys=True) for body in server.asked[before:]]
    assert not set(answered) & set(asked)
    assert len(answered) + len(asked) == 8 * (1 + ROUNDS)
    assert len(read_pseudo_captions(tmp_path / "out" / "captions")) == 8


def test_a_try_that_outlived_what_started_it_is_waited_for(shard: dict[str, str], tmp_path: Path) -> None:
    gate = Gate(5)
    with chat_server(gate) as server:
        first = start(shard, server.url, tmp_path / "one")
        assert gate.held.wait(120)
        second = start(shard, server.url, tmp_path / "two")
        time.sleep(3)
        gate.open.set()
        finished(first)
        assert "an earlier try" in finished(second)
        assert max(Counter(server.answered).values()) == 1
    assert (tmp_path / "one" / "captions").read_bytes() == (tmp_path / "two" / "captions").read_bytes()


# Answers slowly enough to be killed in the middle; every request is a line in the log.
SERVER = """
import sys, time
from tests.chat_server import ChatServer, Reply, answer

def script(body, number):
    with open(sys.argv[2], "a") as log:
        log.write(".\\n")
    return Reply(answer(body).body, delay=0.05)

ChatServer(script, port=int(sys.argv[1]))
time.sleep(600)
"""


def start_server(port: int, log: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", SERVER, str(port), str(log)]
    return subprocess.Popen(words, cwd=ROOT, preexec_fn=end_with_parent)


def test_the_server_is_killed_and_starts_again_after_longer_than_the_retries_last(
    shard: dict[str, str], tmp_path: Path
) -> None:
    [port] = free_ports(1)
    log = tmp_path / "asked"
    log.touch()
    server = start_server(port, log)
    try:
        process = start(shard, f"http://127.0.0.1:{port}/v1", tmp_path / "out")
        deadline = time.monotonic() + 120
        while log.stat().st_size < 6 * 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.kill()
        server.wait()
        assert 6 <= log.stat().st_size // 2 < 24
        time.sleep(0.5 * (1 + 2 + 4 + 8) + 1)  # all the pauses of a client without patience, and more
        assert process.poll() is None
        server = start_server(port, log)
        assert "trying again for up to 300 s" in finished(process)
        # What was under way when it was killed has to be asked again, at most the two calls at a time.
        assert 24 <= log.stat().st_size // 2 <= 26
    finally:
        server.kill()
        server.wait()
    assert len(read_pseudo_captions(tmp_path / "out" / "captions")) == 8


def test_a_picture_without_an_answer_fails_the_shard_and_is_asked_again_alone(
    shard: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """KFP caches what succeeds: a picture that an overloaded server cost would never be asked again."""
    unlucky = base64.b64encode((Path(shard["pictures"]) / "3.png").read_bytes()).decode()
    busy = True

    def script(body: dict[str, Any], number: int) -> Reply:
        if busy and unlucky in json.dumps(body):
            return error(429, "busy for an hour", {"retry-after": "3600"})
        return answer(body)

    with chat_server(script) as server:

        def work() -> dict[str, float]:
            out, page = str(tmp_path / "captions"), str(tmp_path / "report")
            return interview(**given, server=server.url, model="m", captions=out, report=page)

        given: dict[str, Any] = {**shard, "layout": "", "rounds": ROUNDS, "min_probability": 0.1}
        given |= {"folder": given.pop("pictures"), "concurrency": 8}
        with pytest.raises(CtgiError, match="no answer about 1 of 8 pictures"):
            work()
        assert "3.png: http" in capfd.readouterr().err and not (tmp_path / "captions").exists()
        busy, before = False, len(server.asked)
        told = work()
    assert len(server.asked) - before == 1 + ROUNDS
    assert (told["rows"], told["resumed"], told["skipped"]) == (8, 7, 0)


def test_a_broken_picture_is_reported_and_the_shard_finishes(shard: dict[str, str], tmp_path: Path) -> None:
    folder = Path(shard["pictures"])
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:100])
    (folder / "<b>*.txt").write_text("no picture", encoding="utf-8")
    with chat_server() as server:
        finished(start(planned(folder, tmp_path / "work"), server.url, tmp_path / "out"))
    assert len(read_pseudo_captions(tmp_path / "out" / "captions")) == 7
    report = (tmp_path / "out" / "report").read_text(encoding="utf-8")
    assert "3.png" in report and "2 pictures skipped" in report and "<b>" not in report
    metadata = json.loads((tmp_path / "out" / "outputs.json").read_text(encoding="utf-8"))["metadata"]
    assert metadata["metrics"]["skipped"] == 2


def test_a_shard_of_broken_pictures_alone_finishes_with_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"not a picture")
    with chat_server() as server:
        finished(start(planned(folder, tmp_path / "work"), server.url, tmp_path / "out"))
        assert not server.asked
    assert "a.png" in (tmp_path / "out" / "report").read_text(encoding="utf-8").replace("&#46;", ".")


def test_a_server_that_refuses_every_picture_fails_the_shard_by_name(
    shard: dict[str, str], tmp_path: Path
) -> None:
    with chat_server(lambda body, number: Reply({"error": {"message": "no"}}, 400)) as server:
        process = start(shard, server.url, tmp_path / "out")
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert said.strip().splitlines()[-1].startswith("caption_shard 00-of-01: ")
