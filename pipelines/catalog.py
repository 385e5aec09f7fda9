"""The pipelines by name, and what parameters each has."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ctgi.errors import CtgiError

PIPELINES = {
    "ctgi_train": "pictures to a published release",
    "ctgi_gallery": "pictures to an index for a release; only what changed is touched",
    "ctgi_refresh": "recurring: caption what is new, retrain when enough has come, promote through the gate",
}

#: What KFP calls them.
KINDS = {"String": str, "Integer": int, "Float": float, "Boolean": bool, "Dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One parameter: `kind` is str, int, float, bool or dict; `default` None where it has to be given."""

    name: str
    kind: type
    default: Any


def build(name: str, steps: Any, cluster: Any, gpus: int = 0) -> Any:
    """The pipeline `name`, from the steps of a binding; for a cluster, or (None) for this machine and so many
    of its GPUs."""
    if name not in PIPELINES:
        raise CtgiError(f"pipeline {name!r}: there are {', '.join(PIPELINES)}")
    from pipelines.graph import Graph

    return importlib.import_module(f"pipelines.{name.removeprefix('ctgi_')}").build(
        Graph(steps, cluster, gpus)
    )


def parameters(pipeline: Any) -> tuple[Parameter, ...]:
    """The parameters of a built pipeline, in order."""
    found = []
    for name, spec in pipeline.component_spec.inputs.items():
        kind = KINDS[str(spec.type)]
        found.append(Parameter(name, kind, spec.default if spec.optional else None))
    return tuple(found)
