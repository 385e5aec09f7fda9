"""What is tried before a run is started: nothing is spent where image, GPUs or a server are missing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.checks import (
    Check,
    check_model,
    check_pictures,
    check_store,
    check_workspace,
    check_written,
)
from pipelines.cluster import Cluster
from pipelines.containers import run_container
from pipelines.stopping import Stopping

_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
                 "docker.distribution.manifest.v2")
)  # fmt: skip


#: Seconds for which a store is tried before a run on this machine: somebody is looking.
PATIENCE = 10.0


def check_here(values: Mapping[str, Any], image: str = "", root: Path = Path(), gpus: int = 0) -> list[Check]:
    """For a run on this machine: what it writes to and reads, store, models; with Docker the image, too.

    With Docker all that is no folder is looked at from inside, by the run's own first step.
    """
    read = {name: str(values[name]) for name in ("pictures", "gallery_pictures", "data") if values.get(name)}
    if image:
        folders = {name: place for name, place in read.items() if place.startswith("/")}
        checks = [check_docker(image), check_seen(values, root), check_pictures(folders)]
        return [*checks, check_docker_gpus(image, gpus)] if gpus and checks[0].ok else checks
    checks = [check_workspace(values["work"]), check_pictures(read, PATIENCE)]
    if values.get("store"):
        checks.append(check_store(values["store"], PATIENCE))
    if values.get("gallery"):
        checks.append(check_written("gallery", values["gallery"]))
    for server in {values.get("server", ""), values.get("dossiers", "")} - {""}:
        checks.append(check_model(server, values["model"]))
    if writer := values.get("reconstructor_server"):
        checks.append(check_model(writer, values["reconstructor_model"], sees=False))
    return checks


def check_there(values: Mapping[str, Any], cluster: Cluster, version: str) -> list[Check]:
    """For a cluster: the API, the image's registry, the GPUs that training asks for, whether steps see the
    folders. What only pods can reach (store, models, workspace) is tried by the first step of every run."""
    return [
        check_api(version),
        check_registry(cluster.image),
        check_gpus(cluster),
        check_mounted(values, cluster),
    ]


def check_mounted(values: Mapping[str, Any], cluster: Cluster) -> Check:
    """Whether folders lie in the claim that all steps mount; others are lost with the pod that wrote them.
    What is only read may lie in the image, which cannot be seen from here."""
    mount = Path(cluster.mount)
    texts = {n: v.removeprefix("file://") for n, v in values.items() if isinstance(v, str)}
    folders = {n: Path(os.path.normpath(value)) for n, value in texts.items() if value.startswith("/")}
    outside = {n: f for n, f in folders.items() if not (cluster.claim and f.is_relative_to(mount))}
    lost = [f"{n} ({f})" for n, f in outside.items() if n in ("work", "store", "gallery")]
    where = f"in the claim at {mount}" if cluster.claim else "in a claim: none is named"
    if lost:
        return Check("folders", False, f"{', '.join(lost)}: not {where}; use the object store, or mount one")
    if outside:
        read = ", ".join(f"{name} ({folder})" for name, folder in outside.items())
        return Check("folders", None, f"{read}: not {where}; the image has to hold it")
    return Check("folders", True, f"all {where}" if folders else "none are named")


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


def check_docker_gpus(image: str, gpus: int) -> Check:
    """Whether the engine starts a container with so many GPUs."""
    import docker

    wanted = docker.types.DeviceRequest(count=gpus, capabilities=[["gpu"]])
    with contextlib.closing(docker.from_env()) as engine, contextlib.redirect_stdout(io.StringIO()) as said:
        code = run_container(
            Stopping(), engine, image, ["-c", "pass"], {}, entrypoint=["python"], device_requests=[wanted]
        )
    what = f"{gpus} GPUs in containers"
    if code:
        why = " ".join(said.getvalue().split())
        return Check(what, False, f"{why or code}; leave --gpus out, or set the engine up for them")
    return Check(what, True, "a container started with them")


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
    if at:
        name = name.partition(":")[0]  # the digest says which it is, whatever tag stands beside it
    else:
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
    """Whether some node has as many GPUs as a step asks for, training above all."""
    wanted = max(need.gpus for need in (cluster.small, cluster.embedding, cluster.training))
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
    each = [int((node.status.allocatable or {}).get(cluster.accelerator, 0)) for node in nodes]
    most = max(each, default=0)
    if most < wanted:
        return Check(what, False, f"no node has more than {most}; lower training.gpus or add a node")
    return Check(what, True, f"a node has {most}")


def _reason(error: Exception) -> str:
    try:
        return str(json.loads(error.body)["message"])[:120]  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError, KeyError):
        return " ".join(str(error).split())[:120]
