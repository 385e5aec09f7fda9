"""Two tries of one step at once, their workspace an object store: one waits, or has lost for good."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from components import lease
from components.lease import Lease, Lost
from components.workspace import Workspace, _Mirror
from ctgi.errors import CtgiError
from ctgi.storage.opening import open_store
from tests.storage.fault_proxy import Fault, fault_proxy
from tests.storage.seaweed import end_with_parent

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
QUICK = {"BEAT": 0.1, "KEEPS": 1.0, "LAPSE": 3.0}
# A try that signs two files when it begins, and the first of them again when it is told to end.
TRY = """
import pathlib, sys, time
from components import lease, workspace
from components.step import step
url, who, told = sys.argv[1:4]
workspace.EVERY, lease.BEAT, lease.KEEPS, lease.LAPSE = 0.1, 0.1, 1.0, 3.0
with step("try", who), workspace.Workspace(url).folder("step") as folder:
    found = (folder / "one").read_text() if (folder / "one").exists() else "nothing"
    print(f"found {found}", flush=True)
    for name in ("one", "two"):
        (folder / name).write_text(who)
    while not pathlib.Path(told).exists():
        time.sleep(0.02)
    (folder / "one").write_text(who + " again")
"""


@pytest.fixture
def url(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    s3_server.into(monkeypatch)
    return str(s3_server.url("leased"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(lease, name, value)
    monkeypatch.setattr("components.workspace.EVERY", 0.1)


class Tries:
    """Processes at work in the folder `step` of one workspace."""

    def __init__(self, url: str, told: Path) -> None:
        self.url, self.told, self.started = url, told, list[subprocess.Popen[str]]()

    def start(self, who: str) -> subprocess.Popen[str]:
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-c", TRY, self.url, who, str(self.told / who)],
                cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=end_with_parent,
            )
        )  # fmt: skip
        return self.started[-1]

    def signs(self, **wanted: str) -> None:
        """Wait until the store has these files."""
        for name, text in wanted.items():
            deadline = time.monotonic() + 60
            while Workspace(self.url).read(f"step/{name}") != text.encode():
                assert time.monotonic() < deadline, [process.poll() for process in self.started]
                time.sleep(0.05)

    def ends(self, who: str, process: subprocess.Popen[str]) -> tuple[str, str]:
        (self.told / who).touch()
        return process.communicate(timeout=60)

    def files(self) -> dict[str, str]:
        store = open_store(f"{self.url}/step")
        return {entry.key: store.read(entry.key).decode() for entry in store.list()}


@pytest.fixture
def tries(url: str, tmp_path: Path) -> Iterator[Tries]:
    running = Tries(url, tmp_path)
    yield running
    for process in running.started:
        process.kill()
        process.communicate()


def test_the_second_try_waits_and_goes_on_from_what_the_first_has_left(tries: Tries) -> None:
    first = tries.start("first")
    tries.signs(one="first", two="first")
    second = tries.start("second")
    assert second.stderr is not None and "an earlier try is at work there" in second.stderr.readline()
    time.sleep(3.5)  # longer than a lease lasts that nobody keeps
    assert tries.files() == {"one": "first", "two": "first"}
    tries.ends("first", first)
    said, _ = tries.ends("second", second)
    assert (first.returncode, second.returncode) == (0, 0)
    assert said == "found first again\n"
    assert tries.files() == {"one": "second again", "two": "second"}


def test_a_killed_try_is_waited_for_no_longer_than_its_lease_lasts(tries: Tries) -> None:
    first = tries.start("first")
    tries.signs(two="first")
    first.kill()
    first.wait()
    began = time.monotonic()
    second = tries.start("second")
    tries.signs(two="second")
    assert time.monotonic() - began >= QUICK["LAPSE"]
    assert tries.ends("second", second)[0] == "found first\n" and second.returncode == 0


def test_an_evicted_try_leaves_its_lease_at_once(tries: Tries) -> None:
    first = tries.start("first")
    tries.signs(two="first")
    first.terminate()
    assert first.wait(30) == 143
    second = tries.start("second")
    _, complained = tries.ends("second", second)
    assert second.returncode == 0 and "waiting" not in complained


def test_a_try_that_was_frozen_and_comes_back_writes_nothing_more(tries: Tries) -> None:
    first = tries.start("first")
    tries.signs(one="first", two="first")
    first.send_signal(signal.SIGSTOP)
    second = tries.start("second")
    tries.signs(one="second", two="second")
    first.send_signal(signal.SIGCONT)
    _, complained = first.communicate(timeout=60)  # it ends by itself
    assert first.returncode == 2 and "another try of this step has taken over" in complained.splitlines()[-1]
    assert tries.files() == {"one": "second", "two": "second"}
    tries.ends("second", second)
    assert second.returncode == 0 and tries.files() == {"one": "second again", "two": "second"}


def test_of_many_that_come_at_once_one_holds_at_a_time(url: str, quick: None) -> None:
    inside, most, done = 0, 0, list[int]()
    lock = threading.Lock()

    def one(number: int) -> None:
        nonlocal inside, most
        with Lease(url, "step").held() as held:
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.3)
            held.check()
            with lock:
                inside -= 1
            done.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(6)) and most == 1
    assert len(list(open_store(url).list("leases/"))) == 1  # what is over is swept


def test_folders_of_other_names_do_not_wait(url: str, quick: None) -> None:
    with Lease(url, "train/a").held() as one, Lease(url, "train/b").held() as other:
        one.check()
        other.check()


def test_an_outage_without_a_rival_is_outlived(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """Longer than the lease lasts; meanwhile nothing is sent, afterwards everything."""
    s3_server.into(monkeypatch)
    url, refused = s3_server.url("outage"), threading.Event()
    with fault_proxy(s3_server.endpoint, lambda *_: Fault(drop=True) if refused.is_set() else None) as proxy:
        monkeypatch.setenv("CTGI_S3_ENDPOINT", proxy.endpoint)
        with Workspace(url).folder("step") as folder:
            refused.set()
            (folder / "paid").write_text("for", encoding="utf-8")
            time.sleep(QUICK["LAPSE"] + 1)
            threading.Timer(1.0, refused.clear).start()
    s3_server.into(monkeypatch)
    assert Workspace(url).read("step/paid") == b"for"


def test_whoever_cannot_show_that_it_lives_writes_nothing(
    url: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(url, "step").held() as held:
        held.check()
        with monkeypatch.context() as patch:
            patch.setattr(Lease, "_beat", lambda *_: None)
            time.sleep(QUICK["KEEPS"] + 0.3)
            with pytest.raises(CtgiError, match="another try may be at work"):
                held.check()
        held.renew()  # nobody came meanwhile
        held.check()


def test_who_comes_back_in_the_moment_of_the_takeover_has_stopped_before_the_other_begins(
    url: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shows that it lives between the second's last look and its new number."""
    create, first = Lease._create, Lease(url, "step")
    first._take()  # no beats of its own: to the second it is dead

    def late(self: Lease, number: int) -> bool:
        first._beat(first._store)
        return create(self, number)

    monkeypatch.setattr(Lease, "_create", late)
    with Lease(url, "step").held() as second:
        with pytest.raises(CtgiError, match="another try may be at work"):
            first.check()
        with pytest.raises(Lost, match="has taken over"):
            first.renew()
        second.check()


def test_a_number_that_is_free_again_is_no_way_back(url: str, quick: None) -> None:
    """One that slept between looking and creating finds its number free, since later ones have been there."""
    sleeper = Lease(url, "step")
    with ExitStack() as stack:
        for _ in range(3):
            stack.close()
            stack.enter_context(Lease(url, "step").held())
        assert not sleeper._create(1)
    assert [entry.key for entry in open_store(url).list("leases/")] == ["leases/step/00000003"]


def test_the_numbers_leave_room() -> None:
    """A request begun in the last moment of a holder's right to write ends before the lease lapses: it gives
    up after its patience, or at the end of the wait for an answer that began then."""
    assert 2 * (lease.LAPSE - lease.KEEPS) / 2.5 < lease.LAPSE - lease.KEEPS
    assert 3 * lease.BEAT < lease.KEEPS


def test_a_large_file_on_its_way_stops_where_the_lease_is_lost(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, checks = tmp_path / "here", 0
    here.mkdir()
    (here / "weights").write_bytes(bytes(40 << 20))

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:  # before the first request, and in the middle of the file
            raise Lost("taken over")

    with Lease(url, "step").held() as held:
        monkeypatch.setattr(held, "check", check)
        with pytest.raises(Lost, match="taken over"):
            _Mirror(open_store(f"{url}/step"), here, held).send()
    assert list(open_store(f"{url}/step").list()) == []
