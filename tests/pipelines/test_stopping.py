"""Ctrl-C, SIGTERM and kill -9 of a run on this machine: nothing is started any more, nothing runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import stopping as stopping_module
from pipelines.processes import run_process, stopped_by
from pipelines.stopping import Stopped, Stopping
from tests.chat_server import ChatServer, Reply, answer, chat_server
from tests.pipelines.conftest import picture

ROOT = Path(__file__).resolve().parents[2]
#: A step's work, which says on SIGTERM that it has put something away. As KFP starts it: by a shell.
WORK = """
import time
from components.step import step
with step("gate"):
    print("at work", flush=True)
    try:
        time.sleep(60)
    finally:
        print("put away", flush=True)
"""


def by_shell(code: str) -> list[str]:
    return ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code]


def until(true: Callable[[], bool], patience: float = 30) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def ask_when(said: Callable[[], bool], *asks: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        for ask in asks:
            until(said)
            ask()
            time.sleep(0.3)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Tests that a script runs in the background ignore Ctrl-C, and so would all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_which_keeps_what_it_has(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    printed = ""

    def at_work() -> bool:
        nonlocal printed
        printed += capfd.readouterr().out
        return "at work" in printed

    stopping = Stopping(told.append)
    before = signal.getsignal(number)
    with stopping.listening():
        thread = ask_when(at_work, lambda: os.kill(os.getpid(), number))
        start = time.monotonic()
        with pytest.raises(Stopped):
            run_process(stopping, by_shell(WORK))
        with pytest.raises(Stopped):  # neither another try nor the next step
            run_process(stopping, ["true"])
        assert time.monotonic() - start < 20
    thread.join()
    assert "put away" in printed + capfd.readouterr().out and signal.getsignal(number) == before
    assert len(told) == 1 and "interrupted" in told[0]


def test_what_does_not_end_is_killed_when_asked_again_or_after_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for asks, patience in ((2, 60.0), (1, 0.2)):
        monkeypatch.setattr(stopping_module, "PATIENCE", patience)
        begun = tmp_path / f"{asks}"
        stopping = Stopping()
        with stopping.listening():
            thread = ask_when(begun.exists, *[stopping.ask] * asks)
            with pytest.raises(Stopped):
                run_process(stopping, ["sh", "-c", f"trap '' TERM; touch {begun}; sleep 60"])
        thread.join()


def test_a_step_that_was_done_when_the_signal_came_counts_as_done(tmp_path: Path) -> None:
    stopping = Stopping()
    begun = tmp_path / "begun"
    with stopping.listening():
        thread = ask_when(begun.exists, stopping.ask)
        assert run_process(stopping, ["sh", "-c", f"trap 'exit 0' TERM; touch {begun}; sleep 60 & wait"]) == 0
    thread.join()


def test_exit_codes_and_variables_come_through(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sh", "-c", "echo of $ONE; echo and >&2; exit 3"]
    assert run_process(Stopping(), command, {"ONE": "one"}) == 3
    assert capsys.readouterr().out == "of one\nand\n\n\n"


def test_kfps_own_runner_is_put_back() -> None:
    from kfp.local import subprocess_task_handler as handler

    before = handler.run_local_subprocess
    with stopped_by(Stopping()):
        assert handler.run_local_subprocess is not before
    assert handler.run_local_subprocess is before


class World:
    """Three shards of a run that a slow model's server answers, and how the run is called."""

    def __init__(self, place: Path, server: ChatServer) -> None:
        self.place, self.server, self.delay = place, server, 0.3
        self.started: list[subprocess.Popen[str]] = []
        server.script = self.answer
        for number in range(24):
            picture(place / "photos" / f"{number}.png", (10 * number, 90, 200), number)
        given: dict[str, Any] = {
            "pictures": place / "photos", "work": place / "work", "store": place / "store",
            "server": server.url, "model": "small", "encoder": "ViT-B-16-quickgelu", "weights": "openai",
            "rounds": 1, "per_shard": 8,
        }  # fmt: skip
        self.words = [sys.executable, "-m", "ctgi", "pipeline", "run", "ctgi_train", "--local"]
        self.words += ["--no-preflight", "--root", str(place / "root")]
        for name, value in given.items():
            self.words += ["--set", f"{name}={value}"]

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.words, cwd=ROOT, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        before = len(self.server.answered)
        until(lambda: len(self.server.answered) >= before + 8 or process.poll() is not None, 120)
        self.started.append(process)
        self.delay = 4.0
        return process

    def answer(self, body: dict[str, Any], number: int) -> Reply:
        return Reply(answer(body).body, delay=self.delay)

    def steps(self) -> int:
        """How many processes have to do with the run."""
        shown = subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, text=True, check=True)
        return shown.stdout.count(f"{self.place}/root")


@pytest.fixture
def world(tmp_path: Path) -> Any:
    with chat_server() as server:
        world = World(tmp_path, server)
        yield world
        for process in world.started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_an_interrupted_run_ends_at_once_and_goes_on_where_it_was(world: World) -> None:
    process = world.start()
    assert world.steps() > 1
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate(timeout=30)[0]
    assert time.monotonic() - start < 10 and process.returncode == 130, said
    assert said.strip().endswith("ctgi: interrupted; run the same command again to continue")
    assert "FAILED" not in said and "tried again" not in said and "Traceback" not in said
    assert not world.steps()

    world.delay = 0.3
    again = world.start()
    again.terminate()
    assert again.wait(30) == 130
    counts = Counter(world.server.answered)
    # The preflight, which is a step as well, asks about no picture; and what was on its way when the signal
    # came (8 requests in each of two steps) may have been asked once more.
    del counts[max(counts, key=lambda key: counts[key])]
    assert sum(counts.values()) - len(counts) <= 16


@pytest.mark.slow
def test_steps_end_with_a_run_that_is_killed(world: World) -> None:
    process = world.start()
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not world.steps(), 10)
