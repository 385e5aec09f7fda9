"""A step's container by a stand-in for the engine's client: what it ended with is what the run believes.

Annotations are no texts here: KFP reads those of a step.
"""

import builtins
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

docker = pytest.importorskip("docker", reason="the docker package is not installed")

from pipelines import here  # noqa: E402
from pipelines.command import main  # noqa: E402
from pipelines.containers import UNKNOWN, asked_how_they_ended, run_container  # noqa: E402
from pipelines.stopping import Stopped, Stopping  # noqa: E402

GONE = docker.errors.NotFound("no such container")


class Container:
    """Ends with `code`; an exception in its place, or in that of what it says, is raised. `refused` is what
    the engine says instead of starting it."""

    def __init__(self, code: Any = 0, said: Any = (b"a line\n",), refused: Any = None) -> None:
        self.code, self.said, self.refused, self.removed = code, said, refused, 0

    def start(self) -> None:
        if self.refused is not None:
            raise self.refused

    def logs(self, *, stream: bool) -> Iterator[bytes]:
        assert stream
        if isinstance(self.said, Exception):
            raise self.said
        yield from self.said

    def wait(self) -> dict[str, int]:
        if isinstance(self.code, Exception):
            raise self.code
        return {"StatusCode": self.code}

    def remove(self, *, force: bool) -> None:
        assert force
        self.removed += 1


class Engine:
    """Makes `container`, whatever is asked for, and remembers that. Its one image has the id `id`."""

    def __init__(self, container: Container, id: str = "sha256:1") -> None:
        self.container, self.asked, self.id = container, [], id
        self.containers = self
        self.images = SimpleNamespace(get=lambda name: SimpleNamespace(id=self.id))

    def create(self, **asked: Any) -> Container:
        self.asked.append(asked)
        return self.container

    def info(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("container", "code"),
    [
        (Container(0), 0),
        (Container(2), 2),
        (Container(137), 137),
        (Container(GONE), UNKNOWN),  # somebody removed it: nobody knows
        (Container(2, said=GONE), 2),  # nor does its output's being unreadable make it a success
        (Container(GONE, said=GONE), UNKNOWN),
        (Container(ConnectionError("the engine is gone")), UNKNOWN),
        (Container(0, said=(b"caf\xc3", b"\xa9\n")), 0),
    ],
)
def test_a_containers_exit_code_is_asked_for_before_it_goes(container: Container, code: int) -> None:
    engine = Engine(container)
    assert run_container(Stopping(), engine, "sha256:1", ["python"], {}, user="1:1") == code
    [asked] = engine.asked
    assert asked["user"] == "1:1"
    assert not asked.get("auto_remove") and not asked.get("remove") and container.removed == 1


def test_a_container_that_cannot_be_started_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(Container(refused=docker.errors.APIError("could not select device driver")))
    assert run_container(Stopping(), engine, "sha256:1", ["python"], {}) == UNKNOWN
    assert engine.container.removed == 1
    assert "could not select device driver" in capsys.readouterr().out


def test_a_run_that_is_stopped_ends_its_container_and_starts_no_other() -> None:
    stopping = Stopping()

    class Works(Container):
        killed: str = ""

        def wait(self) -> dict[str, int]:
            stopping.ask()
            while not self.killed:
                time.sleep(0.01)
            return {"StatusCode": 143}

        def kill(self, signal: str) -> None:
            self.killed = signal

    engine = Engine(Works())
    with stopping.listening():
        for _ in range(2):
            with pytest.raises(Stopped):
                run_container(stopping, engine, "sha256:1", ["python"], {})
    assert engine.container.killed == "SIGTERM" and engine.container.removed == 1 and len(engine.asked) == 1


def test_kfps_own_runner_is_put_back() -> None:
    from kfp.local import docker_task_handler

    before = docker_task_handler.run_docker_container
    with asked_how_they_ended(Stopping()):
        assert docker_task_handler.run_docker_container.func is run_container
    assert docker_task_handler.run_docker_container is before


GIVEN = {"pictures": "/p", "work": "/w", "store": "/s", "gallery": "/g"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(Container(GONE, said=(b"preflight: the store is not there\n",)))
    monkeypatch.setattr(docker, "from_env", lambda: engine)
    monkeypatch.setattr("kfp.local.orchestrator.task_executor.time.sleep", lambda seconds: None)
    return engine


def test_a_run_whose_first_container_vanishes_fails_and_says_so(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CTGI_S3_ENDPOINT", "MINE", "OTHER"):
        monkeypatch.setenv(name, f"of {name}")
    words = ["run", "ctgi_gallery", "--docker", "ctgi/pipeline:1", "--no-preflight", "--root", str(tmp_path)]
    words += ["--json", str(tmp_path / "told.json"), "--shm-size", "1g", "--network", "mine", "--env", "MINE"]
    words += [part for name, value in GIVEN.items() for part in ("--set", f"{name}={value}")]
    assert main([*words, "--gpus", "2"]) == 2 and builtins.print is print
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert told["steps"] == {"ran": 0, "reused": 0, "failed": 2}  # the preflight, and the last step
    assert "preflight: the store is not there" in told["problems"] and not told["ok"]
    assert "preflight: the store is not there" in capsys.readouterr().err.splitlines()[-1]
    assert len(engine.asked) == 3 + 1  # tries of the preflight; the report has one
    for asked in engine.asked:
        assert asked["image"] == "sha256:1" and str(tmp_path) in asked["volumes"]
        assert asked["user"] == f"{os.getuid()}:{os.getgid()}"
        assert (asked["shm_size"], asked["network_mode"]) == ("1g", "mine")
        assert asked["device_requests"][0]["Count"] == 2
        passed = asked["environment"]
        assert passed["CTGI_IMAGE_DIGEST"] == "sha256:1" and "OTHER" not in passed
        assert (passed["CTGI_S3_ENDPOINT"], passed["MINE"]) == ("of CTGI_S3_ENDPOINT", "of MINE")


def test_a_rebuilt_image_under_the_same_name_reuses_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp import dsl

    def one_cached_step(name: str, steps: Any, cluster: None, gpus: int) -> Any:
        image = steps.gate.component_spec.implementation.container.image

        @dsl.container_component
        def say(text: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, valid-type]
            return dsl.ContainerSpec(image=image, command=["say", text])

        @dsl.pipeline(name="one")
        def one() -> None:
            say()

        return one

    class Says(Container):
        def wait(self) -> dict[str, int]:
            place = Path(engine.asked[-1]["command"][1])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("something", encoding="utf-8")
            return {"StatusCode": 0}

    monkeypatch.setattr(here, "build", one_cached_step)
    engine.container = Says()
    for id, outcome in (("sha256:1", "ran"), ("sha256:1", "reused"), ("sha256:2", "ran")):
        engine.id = id
        ended = here.run("one", {}, tmp_path, image="ctgi/pipeline:1")
        assert ended.ok and ended.steps == {"ran": 0, "reused": 0, "failed": 0} | {outcome: 1}
