"""The two bindings of a step: a process on this machine, or a container.

Both are made from one typed function, so that they cannot drift apart in silence; a test compares the
interfaces that KFP derives from them.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import structures
from kfp.dsl.container_component_class import ContainerComponent

#: Every step, in the order of a run. Each is `components/NAME.py` with a function of that name.
STEPS = (
    "preflight",
    "resolve",
    "plan_shards",
    "caption_shard",
    "reconstruct_shard",
    "merge_captions",
    "enough",
    "train",
    "evaluate",
    "gate",
    "export",
    "verify_parity",
    "publish",
    "embed_shard",
    "build_index",
    "promote",
    "report_state",
)
ROOT = Path(__file__).resolve().parents[1]


class Steps:
    """All steps in one binding, as attributes: `steps.train(...)` adds a task to the pipeline being built."""

    def __init__(self, components: Mapping[str, Any], where: str) -> None:
        self._components, self.where = components, where

    def __getattr__(self, name: str) -> Any:
        try:
            return self._components[name]
        except KeyError:
            raise AttributeError(name) from None


def function_of(name: str) -> Callable[..., Any]:
    """The typed function of a step."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"components.{name}"), name)
    return function


def local_steps() -> Steps:
    """Lightweight components, for a runner that starts a process for each task on this machine."""
    image = f"python-here:{code_digest()[:16]}"  # never pulled; part of the key of the local cache
    return Steps({name: local(function_of(name), image) for name in STEPS}, "local")


@cache
def container_steps(image: str) -> Steps:
    """Container components that run in `image`, on a cluster or by Docker."""
    return Steps({name: container(function_of(name), image) for name in STEPS}, "container")


def local(function: Callable[..., Any], image: str) -> Any:
    """The function as a lightweight component; its imports are those of this environment."""
    return dsl.component(function, base_image=image, install_kfp_package=False)


def container(function: Callable[..., Any], image: str) -> Any:
    """The function as a container component: the image's `python -m components.NAME`.

    `dsl.container_component` allows no output called `Output`, the only one that a local `ParallelFor` can
    walk; so the interface is the one that KFP reads off the function, with a container behind it.
    """
    spec = copy.deepcopy(local(function, image).component_spec)
    spec.implementation = structures.Implementation(
        container=structures.ContainerSpecImplementation(
            image=image,
            command=["python", "-m", f"components.{function.__name__}"],
            args=["--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
        )
    )
    return ContainerComponent(spec, function)


@cache
def code_digest() -> str:
    """SHA-256 of the source of `ctgi` and `components`: another code is another key in the local cache."""
    whole = hashlib.sha256()
    for package in ("ctgi", "components"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".txt", ".json") and path.is_file():
                whole.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()
