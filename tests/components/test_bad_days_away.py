"""Steps whose workspace is an object store, killed with signal 9 and started again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ctgi.storage.opening import open_store
from tests.components.story import STORY, World

pytestmark = pytest.mark.slow
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
