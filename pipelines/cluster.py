"""What a pipeline needs of the cluster that it runs on; compiled into it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError

DURATION = re.compile(r"\d+(s|m|h)")
CPU = re.compile(r"\d+(\.\d+)?|\d+m")
MEMORY = re.compile(r"\d+([EPTGMK]i?)?")
SHM = re.compile(r"(\d+([EPTGMK]i)?)?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Need:
    """What one kind of step asks for; the limits are the requests, so that a node is never overcommitted."""

    cpu: str
    memory: str
    gpus: int = 0
    shm: str = ""
    hours: int = 24

    def problem(self) -> str:
        """What is wrong with it, "" where nothing is."""
        for name, form, such in (("cpu", CPU, "2 or 500m"), ("memory", MEMORY, "8Gi"), ("shm", SHM, "16Gi")):
            if not form.fullmatch(getattr(self, name)):
                return f"{name} {getattr(self, name)!r} is no quantity such as {such}"
        if self.gpus < 0 or self.hours < 1:
            return f"it asks for {self.gpus} GPUs and {self.hours} hours"
        return ""


@dataclass(frozen=True)
class Cluster:
    """Settings of a deployment. Secrets and claims are named, never read.

    Attributes:
        image: of all steps. KFP's cache knows an image by its name: it is used only for one that is pinned by
            digest.
        claim: PersistentVolumeClaim (ReadWriteMany) mounted at `mount` in every step; "" mounts none, for a
            workspace in the object store.
        store_secret, store_keys: Secret with the object store's credentials, and which key becomes which
            environment variable. The defaults are those of Kubeflow Pipelines. "" names none, here as for the
            other two secrets.
        store_endpoint, store_secure: the object store.
        model_secret: Secret with OPENAI_API_KEY (and CTGI_RECONSTRUCTOR_KEY); optional in the cluster.
        notify_secret: Secret with CTGI_NOTIFY_URL; optional in the cluster.
        accelerator, toleration: the GPU resource, and the taint of GPU nodes.
        retries, backoff, backoff_factor, backoff_max: of a failed step.
        parallelism: shards at the same time.
        keep_days: how long the pods of a finished run are kept.
        small, embedding, training: what steps ask for.
    """

    image: str = "ctgi/pipeline:latest"
    claim: str = "ctgi-work"
    mount: str = "/mnt/ctgi"
    store_secret: str = "mlpipeline-minio-artifact"
    store_keys: Mapping[str, str] = field(
        default_factory=lambda: {"accesskey": "CTGI_S3_ACCESS_KEY", "secretkey": "CTGI_S3_SECRET_KEY"}
    )
    store_endpoint: str = "seaweedfs.kubeflow:9000"
    store_secure: bool = False
    model_secret: str = "ctgi-models"
    notify_secret: str = "ctgi-notify"
    accelerator: str = "nvidia.com/gpu"
    toleration: str = "nvidia.com/gpu"
    retries: int = 5
    backoff: str = "30s"
    backoff_factor: float = 2.0
    backoff_max: str = "600s"
    parallelism: int = 8
    keep_days: int = 7
    small: Need = Need("2", "4Gi", hours=24)
    embedding: Need = Need("4", "8Gi", hours=24)
    training: Need = Need("8", "48Gi", gpus=1, shm="16Gi", hours=72)

    def __post_init__(self) -> None:
        if not self.image or any(c.isspace() for c in self.image):
            raise CtgiError(f"cluster: image {self.image!r} is no image's name")
        for name in ("backoff", "backoff_max"):
            if not DURATION.fullmatch(getattr(self, name)):
                raise CtgiError(f"cluster: {name} {getattr(self, name)!r} is no duration such as 30s")
        if not 0 <= self.retries <= 20:
            raise CtgiError(f"cluster: retries {self.retries}; choose 0 to 20")
        if not 1 <= self.parallelism <= 32:
            raise CtgiError(f"cluster: parallelism {self.parallelism}; there are 1 to 32 shards at a time")
        if not (self.backoff_factor >= 1 and self.keep_days >= 0):
            raise CtgiError("cluster: backoff_factor is at least 1, keep_days at least 0")
        for name, least in (("accelerator", ""), ("toleration", ""), ("mount", "/")):
            if not (value := getattr(self, name)).startswith(least) or not value:
                raise CtgiError(f"cluster: {name} {value!r} is none; leave it out for the default")
        for key, variable in self.store_keys.items():
            if not (isinstance(key, str) and isinstance(variable, str) and VARIABLE.fullmatch(variable)):
                raise CtgiError(
                    f"cluster: store_keys {key!r}: {variable!r} is no environment variable's name"
                )
        for name in ("small", "embedding", "training"):
            need: Need = getattr(self, name)
            if problem := need.problem():
                raise CtgiError(f"cluster: {name}: {problem}")

    @classmethod
    def read(cls, path: Path | None) -> Cluster:
        """From a YAML file with these names; None gives the defaults. Raises CtgiError for unknown names."""
        if path is None:
            return cls()
        import yaml

        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise CtgiError(
                f"{path}: cannot be read ({reason}); write one `setting: value` a line"
            ) from error
        if not isinstance(content, dict):
            raise CtgiError(f"{path}: not a mapping; write one `setting: value` a line")
        defaults = cls()
        values: dict[str, Any] = {}
        for name, value in _known(cls, content, path).items():
            before = getattr(defaults, name)
            if isinstance(before, Need):
                if not isinstance(value, dict):
                    raise CtgiError(f"{path}: {name} is a mapping with cpu, memory, gpus, shm and hours")
                given = _known(Need, value, path)
                fields = {
                    key: _as(getattr(before, key), v, f"{path}: {name}: {key}") for key, v in given.items()
                }
                values[name] = dataclasses.replace(before, **fields)
            else:
                values[name] = _as(before, value, f"{path}: {name}")
        return cls(**values)


def _as(before: Any, value: Any, what: str) -> Any:
    """The value, of the type of the default. YAML reads `cpu: 8` and `backoff_factor: 2` as whole numbers."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and what.endswith((": cpu", ": memory")):
        return str(value)
    if number and isinstance(before, float):
        return float(value)
    if isinstance(before, bool) != isinstance(value, bool) or not isinstance(value, type(before)):
        raise CtgiError(f"{what} {value!r} is no {type(before).__name__}")
    return value


def _known(kind: type, content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    names = [each.name for each in dataclasses.fields(kind)]
    for name in content:
        if name not in names:
            raise CtgiError(f"{path}: no setting {name!r}; there are {', '.join(names)}")
    return content
