"""Every step on bad days: killed with signal 9 at chosen moments and started again; its store out of order.

Moments of a kill are spread over all that a step does; CTGI_KILL=all takes every one of them (an hour). An
outage lasts two seconds; CTGI_OUTAGE=60 makes it a minute.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ctgi.captioning.pool import default_pool
from tests.components.story import PICTURES, ROUNDS, STORY, World, published
from tests.storage.fault_proxy import Fault, Proxy, fault_proxy

pytestmark = pytest.mark.slow
CALLS = {
    "caption": PICTURES * (1 + ROUNDS), "reconstruct": PICTURES, "embed": PICTURES * len(default_pool())
}  # fmt: skip
OUTAGE = float(os.environ.get("CTGI_OUTAGE", "2"))


def moments(world: World, step: str) -> list[tuple[int, float]]:
    """When to kill: at changes spread evenly, and every other time a little later, to meet what Python does
    not see, such as a file half written."""
    count, trials = world.moments[step], STORY[step].trials
    assert count >= 2
    if os.environ.get("CTGI_KILL") == "all":
        return [(number, late) for number in range(1, count + 1) for late in (0.0, 0.004)]
    return [(1 + count * (2 * part + 1) // (2 * trials), 0.003 * (part % 2)) for part in range(trials)]


@pytest.mark.parametrize("step", STORY)
def test_killed_and_started_again_it_ends_as_in_peace(world: World, step: str) -> None:
    killed = 0
    for moment, late in moments(world, step):
        world.back_to_before(step)
        before = len(world.server.asked)
        end = world.run(step, kill=moment, late=late)
        assert end.code == -9 or (late and end.code == 0), f"moment {moment}: {end.said}"
        killed += end.code == -9
        end = world.run(step)
        assert end.code == 0, f"moment {moment}: {end.said}"
        assert STORY[step].outcome(world, world.out(step)) == world.outcomes[step], f"moment {moment}"
        if calls := CALLS.get(step):
            # What was under way when the kill came, two calls at a time, had no answer and is asked again.
            assert calls <= len(world.server.asked) - before <= calls + 2, f"moment {moment}"
    assert killed


@pytest.fixture
def in_s3(world: World, s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same world, publishing to S3."""
    s3_server.into(monkeypatch)
    return dataclasses.replace(
        world,
        given={**world.given, "store": s3_server.url("story")},
        environment={**world.environment, **s3_server.environment()},
    )


def what_is_seen_is_whole(world: World) -> int:
    """The number of versions that a reader sees, each of them whole."""
    from ctgi.storage.opening import open_store
    from ctgi.storage.releases import verify, versions

    store = open_store(world.given["store"])
    seen = versions(store, "ctgi")
    for manifest in seen:
        assert list(verify(store, manifest)) == []
    return len(seen)


def test_a_release_in_s3_is_never_half_published(in_s3: World, s3_server: Any) -> None:
    """What is sent counts as moments, too."""
    in_s3.back_to_before("publish")
    end = in_s3.run("publish")
    assert end.code == 0, end.said
    in_s3.moments = {"publish": end.moments}
    outcome = published(in_s3, in_s3.out("publish"))
    for moment, late in moments(in_s3, "publish"):
        in_s3.back_to_before("publish")
        in_s3.given["store"] = s3_server.url("story")
        in_s3.run("publish", kill=moment, late=late)
        assert what_is_seen_is_whole(in_s3) <= 1, f"moment {moment}"
        end = in_s3.run("publish")
        assert end.code == 0, f"moment {moment}: {end.said}"
        assert published(in_s3, in_s3.out("publish")) == outcome, f"moment {moment}"


@pytest.fixture
def out_of_order(in_s3: World, s3_server: Any) -> Iterator[tuple[World, Proxy]]:
    """The world, whose way to the store leads through a proxy with faults."""
    with fault_proxy(s3_server.endpoint, lambda *_: None) as proxy:
        in_s3.environment["CTGI_S3_ENDPOINT"] = proxy.endpoint
        in_s3.back_to_before("publish")
        yield in_s3, proxy


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(status=503, code="SlowDown"), Fault(drop=True), Fault(wait=OUTAGE)],
    ids=["500", "503", "refusing", "silent"],
)
def test_an_outage_of_the_store_is_outlived(out_of_order: tuple[World, Proxy], fault: Fault) -> None:
    world, proxy = out_of_order
    began: list[float] = []

    def script(method: str, path: str, number: int) -> Fault | None:
        if number < 8:  # in the middle of it: the store was tried, some objects are there
            return None
        began.append(time.monotonic())
        return fault if began[-1] - began[0] < OUTAGE else None

    proxy.script = script
    end = world.run("publish")
    assert end.code == 0, end.said
    assert began[-1] - began[0] >= OUTAGE
    assert published(world, world.out("publish"))[0] == 1


def test_a_slow_store_is_waited_for(out_of_order: tuple[World, Proxy]) -> None:
    world, proxy = out_of_order
    proxy.script = lambda *_: Fault(wait=0.05, rate=4 << 20)
    end = world.run("publish")
    assert end.code == 0, end.said
    assert published(world, world.out("publish"))[0] == 1


def test_a_full_store_is_said_in_one_line_and_the_next_run_goes_on(
    out_of_order: tuple[World, Proxy],
) -> None:
    world, proxy = out_of_order

    def full(method: str, path: str, number: int) -> Fault | None:
        there = method == "PUT" and "/check/" not in path and number > 8
        return Fault(status=507, code="XMinioStorageFull") if there else None

    proxy.script = full
    end = world.run("publish")
    assert end.code == 2 and end.said.startswith("publish: s3://") and "is full" in end.said
    assert end.said.count("\n") == 1 and what_is_seen_is_whole(world) == 0
    proxy.script = lambda *_: None
    end = world.run("publish")
    assert end.code == 0 and " there already" in end.said
    assert published(world, world.out("publish"))[0] == 1
