"""A captioning step on bad days: killed, run twice at once, its server restarted, its pictures broken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components import shards
from components.workspace import Workspace
from ctgi.datasets.pseudo import read_pseudo_captions
from tests.chat_server import ChatServer, Reply, answer, chat_server

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


class Door:
    """A port in front of a server, which can be shut and opened again: the server as its clients see it
    while it restarts."""

    def __init__(self, port: int) -> None:
        self._target, self._open = port, True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._through: list[socket.socket] = []
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        self._open = False
        with socket.create_connection(("127.0.0.1", self.port)):  # wakes the thread that waits in accept
            pass
        self._listener.close()
        for each in self._through:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def open_again(self) -> None:
        self._open, self._through = True, []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        while self._open:
            try:
                inside, _ = listener.accept()
            except OSError:
                return
            if not self._open:
                inside.close()
                return
            outside = socket.create_connection(("127.0.0.1", self._target))
            self._through += [inside, outside]
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            one.close()
            other.close()


@contextmanager
def behind_a_door(script: Callable[[dict[str, Any], int], Reply]) -> Iterator[tuple[ChatServer, Door]]:
    with chat_server(script) as server:
        door = Door(int(server.url.split(":")[2].split("/")[0]))
        yield server, door
        door.shut()


def test_the_server_restarts_in_the_middle(shard: dict[str, str], tmp_path: Path) -> None:
    def slow(body: dict[str, Any], number: int) -> Reply:
        return Reply(answer(body).body, delay=0.05)

    with behind_a_door(slow) as (server, door):
        process = start(shard, f"http://127.0.0.1:{door.port}/v1", tmp_path / "out")
        deadline = time.monotonic() + 120
        while len(server.answered) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        before = len(server.answered)
        door.shut()
        time.sleep(2)
        door.open_again()
        finished(process)
        assert 6 <= before < 24
        # What was under way when it went down has to be asked again, at most the two calls at a time.
        assert 24 <= len(server.answered) <= 26
    assert len(read_pseudo_captions(tmp_path / "out" / "captions")) == 8


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
