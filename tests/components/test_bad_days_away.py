"""Steps whose workspace is an object store: killed with signal 9 and started again; two tries at once."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctgi.gallery.index import Gallery
from ctgi.storage.opening import open_store
from tests.chat_server import Reply
from tests.components.story import STORY, World, script
from tests.components.test_bad_days import CALLS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TRIALS = 3


def away(world: World, step: str, s3_server: Any) -> World:
    """The world as it was before the step, its workspace in a place of the object store that is new."""
    world.back_to_before(step)
    url = s3_server.url("work")
    before, after = open_store(str(world.place / "work")), open_store(url)
    for entry in before.list("lists/"):
        after.put(entry.key, before.read(entry.key))
    return dataclasses.replace(
        world,
        given={**world.given, "work": url},
        environment={**world.environment, **s3_server.environment()},
    )


@pytest.mark.parametrize("step", ["caption", "train", "embed"])
def test_killed_and_started_again_it_ends_as_in_a_folder(
    world: World, step: str, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.into(monkeypatch)
    there = away(world, step, s3_server)
    end = there.run(step)
    assert end.code == 0, end.said
    assert STORY[step].outcome(there, there.out(step)) == world.outcomes[step]
    killed = 0
    for part in range(TRIALS):
        # What is sent counts as moments, too; when it is sent is a matter of time, so the last may not come.
        moment = 1 + end.moments * (2 * part + 1) // (2 * TRIALS)
        there = away(world, step, s3_server)
        killed += there.run(step, kill=moment).code == -9
        again = there.run(step)
        assert again.code == 0, f"moment {moment}: {again.said}"
        assert STORY[step].outcome(there, there.out(step)) == world.outcomes[step], f"moment {moment}"
    assert killed >= TRIALS - 1


@pytest.mark.parametrize("step", ["caption", "reconstruct", "train", "embed"])
def test_two_tries_at_once_end_as_one(
    world: World, step: str, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Kubernetes starts a retry while the evicted pod still runs."""

    def slowly(body: dict[str, Any], number: int) -> Reply:
        return Reply(script(body, number).body, delay=0.3)

    s3_server.into(monkeypatch)
    monkeypatch.setattr(world.server, "script", slowly)
    there = away(world, step, s3_server)
    before = len(world.server.asked)
    outs = [there.place / "out" / f"{step}-{number}" for number in range(2)]
    tries = [
        subprocess.Popen(
            [sys.executable, "-m", f"components.{STORY[step].name}", *there.words(step)[:-1], str(out)],
            cwd=ROOT, env={**os.environ, **there.environment, "OMP_NUM_THREADS": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for out in outs
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in tries]
    assert [process.returncode for process in tries] == [0, 0], said
    for out in outs:
        assert STORY[step].outcome(there, out) == world.outcomes[step]
    if calls := CALLS.get(step):
        assert len(world.server.asked) - before == calls  # nothing is paid for twice
    # What both have left is whole: who comes later has nothing to do.
    again = there.run(step)
    assert again.code == 0, again.said
    assert STORY[step].outcome(there, there.out(step)) == world.outcomes[step]
    assert len(world.server.asked) - before == CALLS.get(step, 0)
    if step == "embed":
        folder = there.place / "fetched"
        [manifest] = [
            entry.key for entry in open_store(there.given["work"]).list() if "manifest" in entry.key
        ]
        home = manifest.rpartition("/")[0]
        for entry in (store := open_store(f"{there.given['work']}/{home}")).list():
            (folder / entry.key).parent.mkdir(parents=True, exist_ok=True)
            store.get(entry.key, folder / entry.key)
        assert sorted(Gallery.open(folder, None).ids) == world.outcomes[step][0]
