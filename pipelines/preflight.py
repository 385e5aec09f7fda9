"""What is tried before a run is started: nothing is spent where image, GPUs or a server are missing."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.checks import Check, check_model, check_store, check_workspace
from pipelines.cluster import Cluster

_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
                 "docker.distribution.manifest.v2")
)  # fmt: skip


#: Seconds for which a store is tried before a run on this machine: somebody is looking.
PATIENCE = 10.0


def check_here(values: Mapping[str, Any], image: str = "", root: Path = Path()) -> list[Check]:
    """For a run on this machine: workspace, store, models; with Docker the image, too.

    With Docker the workspace and the servers are looked at from inside, by the run's own first step.
    """
    if image:
        return [check_docker(image), check_seen(values, root), check_pictures(values)]
    checks = [check_workspace(values["work"]), check_pictures(values)]
    if values.get("store"):
        checks.append(check_store(values["store"], patience=PATIENCE))
    for server in {values.get("server", ""), values.get("dossiers", "")} - {""}:
        checks.append(check_model(server, values["model"]))
    if writer := values.get("reconstructor_server"):
        checks.append(check_model(writer, values["reconstructor_model"], sees=False))
    return checks


def check_there(cluster: Cluster, version: str) -> list[Check]:
    """For a cluster: the API, the image's registry, the GPUs that training asks for. What only pods can
    reach (store, models, workspace) is tried by the first step of every run."""
    return [check_api(version), check_registry(cluster.image), check_gpus(cluster)]


def check_pictures(values: Mapping[str, Any]) -> Check:
    """Whether the folders that are read are there and hold something."""
    named = {name: str(values[name]) for name in ("pictures", "gallery_pictures", "data") if values.get(name)}
    folders = {name: Path(place) for name, place in named.items() if place.startswith("/")}
    try:
        bad = [f"{name} ({one}): no such folder" for name, one in folders.items() if not one.is_dir()]
        there = {name: one for name, one in folders.items() if one.is_dir()}
        bad += [f"{name} ({one}): empty" for name, one in there.items() if not any(one.iterdir())]
    except OSError as error:
        bad = [f"{error.filename}: cannot be read ({error.strerror})"]
    if bad:
        return Check("pictures", False, "; ".join(bad))
    return Check("pictures", True if folders else None, ", ".join(map(str, folders.values())) or "not here")


def check_seen(values: Mapping[str, Any], root: Path) -> Check:
    """Whether every folder that is named lies where containers see it."""
    what, whole = f"folders below {root}", root.resolve()
    folders = {n: v for n, v in values.items() if isinstance(v, str) and v.startswith("/")}
    outside = [f"{n} ({v})" for n, v in folders.items() if not Path(v).resolve().is_relative_to(whole)]
    if outside:
        return Check(what, False, f"{', '.join(outside)}: outside of it; containers see nothing else")
    return Check(what, True, "all that are named")


def check_docker(image: str) -> Check:
    """Whether the engine has the image, under the very name that KFP's runner looks for."""
    what = f"image {image}"
    try:
        import docker

        client = docker.from_env()
        try:
            there = [tag for one in client.images.list() for tag in [*one.tags, *one.attrs["RepoDigests"]]]
        finally:
            client.close()
    except ModuleNotFoundError:
        return Check(what, False, "the docker package is not installed: pip install 'ctgi[pipelines]'")
    except Exception as error:  # the SDK lets through whatever its transport raises
        where = os.environ.get("DOCKER_HOST") or "its usual socket"
        reason = type(error.__cause__ or error).__name__
        return Check(what, False, f"no Docker engine at {where} ({reason}); start it or set DOCKER_HOST")
    if (image if ":" in image else f"{image}:latest") not in there:
        return Check(what, False, "not on this machine; build or pull it first")
    return Check(what, True, "on this machine")


def check_api(version: str) -> Check:
    """KFP's version: fan-in over shards works from 2.14 on."""
    parts = version.lstrip("v").split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return Check("Kubeflow Pipelines", None, f"does not say its version ({version or 'nothing'})")
    fits = (int(parts[0]), int(parts[1])) >= (2, 14)
    said = version if fits else f"{version}; 2.14 or later is needed (Collected)"
    return Check("Kubeflow Pipelines", fits, said)


def check_registry(image: str) -> Check:
    """Whether the registry has the image; None where it wants a login that is the cluster's, not ours."""
    what = f"image {image}"
    registry, slash, rest = image.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, rest = "registry-1.docker.io", image if slash else f"library/{image}"
    name, at, reference = rest.partition("@")
    if not at:
        name, colon, reference = rest.rpartition(":")
        if not colon:
            name, reference = rest, "latest"
    scheme = "http" if registry.split(":")[0] in ("localhost", "127.0.0.1") else "https"
    request = urllib.request.Request(
        f"{scheme}://{registry}/v2/{name}/manifests/{reference}",
        method="HEAD",
        headers={"Accept": _MANIFESTS},
    )
    try:
        with urllib.request.urlopen(request, timeout=15):
            return Check(what, True, f"{registry} has it")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return Check(what, False, f"{registry} does not have it; push it first")
        return Check(what, None, f"{registry} answers {error.code}")
    except OSError as error:
        return Check(what, None, f"{registry} cannot be reached from here ({error})")


def check_gpus(cluster: Cluster) -> Check:
    """Whether some node has as many GPUs as training asks for."""
    wanted = cluster.training.gpus
    what = f"{wanted} {cluster.accelerator}"
    if not wanted:
        return Check(what, True, "none are asked for")
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_config()
        nodes = client.CoreV1Api().list_node(_request_timeout=15).items
    except ConfigException:
        return Check(what, None, "no kubeconfig here")
    except Exception as error:  # forbidden, unreachable, or a plugin that is missing
        return Check(what, None, f"nodes cannot be listed ({_reason(error)})")
    most = max((int(node.status.allocatable.get(cluster.accelerator, 0)) for node in nodes), default=0)
    if most < wanted:
        return Check(what, False, f"no node has more than {most}; lower training.gpus or add a node")
    return Check(what, True, f"a node has {most}")


def _reason(error: Exception) -> str:
    try:
        return str(json.loads(error.body)["message"])[:120]  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError, KeyError):
        return " ".join(str(error).split())[:120]
