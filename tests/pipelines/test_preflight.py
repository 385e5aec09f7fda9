"""What is tried before anything is started: images, GPUs, places and models, each really asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.checks import Check, check_model, check_pictures, check_store, check_workspace, failed
from components.preflight import check_all
from ctgi.errors import CtgiError
from pipelines.cluster import Cluster, Need
from pipelines.preflight import (
    check_docker,
    check_gpus,
    check_here,
    check_mounted,
    check_registry,
    check_seen,
)
from tests.http_server import http_server


@contextmanager
def answering(answers: dict[str, tuple[int, Any]]) -> Iterator[str]:
    """A server that has a JSON answer for some requests ("GET /path"), and 404 for all others."""

    def answer(method: str, path: str, _: bytes) -> tuple[int, str, bytes]:
        path = re.sub(r"^/v1\.\d+", "", path.partition("?")[0])
        status, said = answers.get(f"{method} {path}", (404, {"message": f"no {path}"}))
        return status, "application/json", b"" if said is None else json.dumps(said).encode()

    with http_server(answer) as host:
        yield host


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, False), (401, None)])
def test_the_image_is_looked_for_in_its_registry(status: int, ok: bool | None) -> None:
    manifests = ("/v2/ctgi/pipeline/manifests/1", "/v2/ctgi/pipeline/manifests/sha256:1")
    with answering({f"HEAD {path}": (status, None) for path in manifests}) as host:
        assert check_registry(f"{host}/ctgi/pipeline:1").ok is ok
        assert check_registry(f"{host}/ctgi/pipeline:2").ok is False
        pinned = check_registry(f"{host}/ctgi/pipeline:2@sha256:1")  # the digest counts, not the tag
        assert pinned.ok is ok
    assert check_registry(f"{host}/ctgi/pipeline:1").ok is None  # cannot be told from here


IMAGE = {"Id": "sha256:1", "RepoTags": ["ctgi/pipeline:1"], "RepoDigests": ["reg.example/ctgi@sha256:2"]}
ENGINE = {
    "GET /version": (200, {"ApiVersion": "1.41", "Version": "20.10.24"}),
    "GET /images/json": (200, [IMAGE]),
    "GET /images/sha256:1/json": (200, IMAGE),
    "POST /containers/create": (201, {"Id": "c1"}),
    "GET /containers/c1/json": (200, {"Id": "c1", "Config": {"Tty": False}}),
    "GET /containers/c1/logs": (200, None),
    "DELETE /containers/c1": (204, None),
}


def test_what_a_docker_engine_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with answering(ENGINE) as host:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{host}")
        assert check_docker("ctgi/pipeline:1").ok is True
        assert check_docker("reg.example/ctgi@sha256:2").ok is True
        for other in ("ctgi/pipeline", "ctgi/pipeline:2"):
            check = check_docker(other)
            assert check.ok is False and "build or pull it" in check.said
        assert [check.ok for check in check_here({}, "ctgi/pipeline:1", tmp_path)] == [True, True, None]


@pytest.mark.parametrize(
    ("start", "ended", "ok", "said"),
    [
        ((204, None), {"StatusCode": 0}, True, "started"),
        ((204, None), {"StatusCode": 1}, False, "leave --gpus out"),
        ((500, {"message": "could not select device driver"}), {}, False, "could not select device driver"),
    ],
)
def test_gpus_are_tried_in_a_container(
    start: tuple[int, Any], ended: dict[str, int], ok: bool, said: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    more = {"POST /containers/c1/start": start, "POST /containers/c1/wait": (200, ended)}
    with answering({**ENGINE, **more}) as host:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{host}")
        *_, check = check_here({}, "ctgi/pipeline:1", tmp_path, gpus=2)
    assert check.what.startswith("2 GPUs") and check.ok is ok and said in check.said


def test_an_image_that_docker_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    check = check_docker("ctgi/nothing:0")
    assert check.ok is False and "no Docker engine" in check.said
    with pytest.raises(CtgiError, match="nothing was spent"):
        failed(check_here({}, "ctgi/nothing:0"))


def test_containers_see_nothing_outside_of_the_root(tmp_path: Path) -> None:
    inside = {"pictures": str(tmp_path / "root" / "photos"), "store": "s3://b/r", "rounds": 3}
    assert check_seen(inside, tmp_path / "root").ok is True
    check = check_seen({**inside, "work": str(tmp_path / "work")}, tmp_path / "root")
    assert check.ok is False and "work (" in check.said and "pictures" not in check.said


@pytest.mark.parametrize(
    ("claim", "values", "ok", "said"),
    [
        (
            "c",
            {"work": "/mnt/ctgi/w", "data": "/mnt/ctgi/d", "store": "s3://b/r", "rounds": 3},
            True,
            "all in",
        ),
        ("c", {"work": "s3://b/w", "encoder": "ViT-B-16", "layout": ""}, True, "none are named"),
        ("c", {"work": "/home/w", "data": "/home/d"}, False, "work (/home/w): not in the claim at /mnt/ctgi"),
        ("c", {"work": "/mnt/ctgi/../w"}, False, "work"),
        ("", {"work": "/mnt/ctgi/w"}, False, "none is named"),
        ("", {"store": "file:///mnt/ctgi/s"}, False, "store (/mnt/ctgi/s)"),
        ("", {"work": "s3://b/w", "data": "/data/set"}, None, "data (/data/set): not in a claim"),
    ],
)
def test_folders_have_to_be_where_pods_see_them(
    claim: str, values: dict[str, Any], ok: bool | None, said: str
) -> None:
    check = check_mounted(values, Cluster(claim=claim))
    assert check.ok is ok and said in check.said


def test_what_is_read_has_to_be_there_and_to_hold_something(
    tmp_path: Path, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctgi.storage.opening import open_store

    (tmp_path / "empty").mkdir()
    given = {"pictures": str(tmp_path / "none"), "data": str(tmp_path / "empty")}
    check = check_pictures(given)
    assert check.ok is False and "pictures" in check.said and "none): no such folder; data" in check.said
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    assert check_pictures({"pictures": str(tmp_path / "empty")}).ok is True
    s3_server.into(monkeypatch)
    bucket = s3_server.url("photos")
    check = check_pictures({"gallery_pictures": bucket}, 2.0)
    assert check.ok is False and f"gallery_pictures ({bucket}): empty" in check.said
    open_store(bucket).put("a.png", b"x")
    assert check_pictures({"pictures": bucket}, 2.0).ok is True


def test_the_first_step_of_a_run_tries_everything_it_will_need(tmp_path: Path) -> None:
    """Also what only the last steps of a refresh need: hours of interviews lie between."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    report, gone, work = tmp_path / "report.md", "http://127.0.0.1:9/v1", str(tmp_path / "work")
    read = {"pictures": str(tmp_path), "gallery_pictures": str(tmp_path / "empty")}
    with pytest.raises(CtgiError, match="nothing was spent") as error:
        check_all(
            str(report), str(tmp_path / "work"), "", str(tmp_path / "file"), read, ["", gone], "m", "", ""
        )
    said = str(error.value)
    assert f"gallery {tmp_path}/file: " in said and f"gallery_pictures ({tmp_path}/empty): empty" in said
    assert "model m: " in said and "workspace" not in said
    assert report.read_text(encoding="utf-8").count("FAILED") == 3
    nothing = check_all(str(report), work, "", str(tmp_path / "gallery"), {"pictures": ""}, [""], "", "", "")
    assert [check.ok for check in nothing] == [True, True]
    assert not list((tmp_path / "gallery").iterdir())


def test_gpus_cannot_be_counted_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert check_gpus(Cluster()).ok is None


@pytest.mark.parametrize(
    ("nodes", "wanted", "ok", "said"),
    [
        ([{}, {"nvidia.com/gpu": "4"}], 4, True, "a node has 4"),
        ([{"nvidia.com/gpu": "2"}, {"nvidia.com/gpu": "2"}], 4, False, "no node has more than 2"),
        ([{"amd.com/gpu": "8"}], 1, False, "no node has more than 0"),
        ([], 1, False, "no node has more than 0"),
        (None, 1, None, "nodes is forbidden"),
        ([], 0, True, "none are asked for"),
    ],
)
def test_gpus_are_counted_node_by_node(
    nodes: list[dict[str, str]] | None, wanted: int, ok: bool | None, said: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    items = [{"metadata": {"name": "n"}, "status": {"allocatable": node}} for node in nodes or []]
    listed = (200, {"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": items})
    refused = (403, {"kind": "Status", "message": "nodes is forbidden", "code": 403})
    with answering({"GET /api/v1/nodes": refused if nodes is None else listed}) as host:
        named = {"name": "here", "cluster": {"server": f"http://{host}"}}
        context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
        content = {"clusters": [named], "contexts": [context], "users": [{"name": "me", "user": {}}]}
        (tmp_path / "kubeconfig").write_text(
            json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "here", **content}),
            encoding="utf-8",
        )
        for module in ("kubernetes.config", "kubernetes.config.kube_config"):  # read once, when imported
            monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        check = check_gpus(Cluster(training=Need("8", "48Gi", gpus=wanted)))
    assert check.ok is ok and said in check.said


def test_a_workspace_a_store_and_a_model_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert check_workspace(str(tmp_path / "work")).ok is True
    assert check_workspace(str(tmp_path / "file")).ok is False
    assert check_workspace("relative").ok is False
    assert check_store(str(tmp_path / "store")).ok is True
    assert check_store("http://host/store").ok is False
    with_secret = check_store("s3://key:secret@bucket/x")
    assert with_secret.ok is False and "secret" not in str(with_secret).replace("_SECRET", "").lower()
    assert check_model("http://127.0.0.1:9/v1", "m").ok is False


def test_every_failure_is_in_the_one_line() -> None:
    outcomes = {"a": True, "b": False, "c": None, "d": False}
    checks = [Check(name, ok, f"of {name}") for name, ok in outcomes.items()]
    with pytest.raises(CtgiError, match="b: of b; d: of d"):
        failed(checks)
    failed([checks[0], checks[2]])
