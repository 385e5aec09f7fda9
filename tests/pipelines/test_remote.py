"""Submitting and scheduling with KFP's own client, against its API as it looks over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kfp
import pytest

from pipelines import remote
from pipelines.cluster import Cluster
from pipelines.command import main
from pipelines.remote import connected
from tests.http_server import http_server
from tests.pipelines.kfp_api import KfpApi, kfp_api

GIVEN = {"pictures": "/mnt/ctgi/p", "work": "/mnt/ctgi/w", "store": "s3://b/r", "gallery": "/mnt/ctgi/g"}
WORDS = [part for name, value in GIVEN.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CTGI_KFP_TOKEN", "CTGI_KFP_TOKEN_FILE", "CTGI_KFP_COOKIES", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """No registry is asked: the name is one of this machine, where nobody listens."""
    file = tmp_path / "cluster.yaml"
    file.write_text("image: 127.0.0.1:9/ctgi/pipeline@sha256:00\n", encoding="utf-8")
    return file


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_api() as server:
        yield server


def schedule(api: KfpApi, cluster: Path, *more: str, cron: str = "0 3 * * *") -> int:
    words = ["schedule", "ctgi_gallery", "--host", api.url, "--cron", cron, "--cluster", str(cluster)]
    return main([*words, *WORDS, *more])


def test_submit_uploads_a_version_once_and_starts_runs(
    api: KfpApi, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "ctgi_gallery", "--host", api.url, "--cluster", str(cluster), *WORDS]
    assert main(words) == 0 and main([*words, "--set", "per_shard=7"]) == 0
    assert len(api.runs) == 2 and len(api.versions) == 1 and len(api.pipelines) == 1
    given = api.runs[1]["runtime_config"]["parameters"]
    assert given["per_shard"] == 7 and given["pictures"] == "/mnt/ctgi/p"
    assert (
        api.runs[0]["pipeline_version_reference"]["pipeline_version_id"]
        == api.versions[0]["pipeline_version_id"]
    )
    assert b"127.0.0.1:9/ctgi/pipeline@sha256:00" in api.uploads[0]
    out = capsys.readouterr()
    assert api.runs[0]["run_id"] in out.out and "2.17.0" in out.err


def test_scheduling_twice_leaves_one_schedule(
    api: KfpApi, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schedule(api, cluster) == 0
    [first] = api.schedules.values()
    assert first["no_catchup"] is True and first["max_concurrency"] == "1" or first["max_concurrency"] == 1
    assert first["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert schedule(api, cluster) == 0
    assert list(api.schedules.values()) == [first]
    assert "is there already" in capsys.readouterr().out


def test_another_time_or_another_parameter_takes_the_place_of_the_schedule(
    api: KfpApi, cluster: Path
) -> None:
    for _ in range(2):
        assert schedule(api, cluster, "--name", "somebody-else's") == 0
    assert schedule(api, cluster) == 0
    assert schedule(api, cluster, cron="0 4 * * *") == 0
    assert schedule(api, cluster, "--set", "per_shard=9", cron="0 4 * * *") == 0
    mine = [one for one in api.schedules.values() if one["display_name"] == "ctgi_gallery"]
    assert len(mine) == 1 and len(api.schedules) == 2
    assert mine[0]["runtime_config"]["parameters"]["per_shard"] == 9


def test_schedules_that_were_left_double_become_one(api: KfpApi, cluster: Path) -> None:
    assert schedule(api, cluster) == 0
    [first] = api.schedules.values()
    for number in range(5):
        api.schedules[f"schedule-9{number}"] = {**first, "recurring_run_id": f"schedule-9{number}"}
    assert schedule(api, cluster) == 0
    [kept] = api.schedules.values()
    assert kept["description"] == first["description"] and len(api.schedules) == 1


def test_a_disabled_schedule_is_made_anew(api: KfpApi, cluster: Path) -> None:
    assert schedule(api, cluster) == 0
    [first] = api.schedules.values()
    first["status"] = "DISABLED"
    assert schedule(api, cluster) == 0
    assert [one["status"] for one in api.schedules.values()] == ["ENABLED"]


@pytest.mark.parametrize("same", [True, False])
def test_calls_at_the_same_time_leave_one_schedule(
    api: KfpApi, cluster: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Both have looked before either makes theirs, and look again after both have: neither may remove the
    other's for an older one, or none would be left."""
    assert schedule(api, cluster, cron="0 1 * * *") == 0
    both, called = threading.Barrier(2), kfp.Client.create_recurring_run

    def together(client: kfp.Client, *words: Any, **more: Any) -> Any:
        both.wait(10)
        made = called(client, *words, **more)
        both.wait(10)
        return made

    monkeypatch.setattr(kfp.Client, "create_recurring_run", together)
    settings = Cluster.read(cluster)
    with connected(api.url, "") as one:  # KFP's compiler is not made for two threads
        version = remote.upload(one.client, "ctgi_gallery", settings, "")
    monkeypatch.setattr(remote, "upload", lambda *_: version)
    with connected(api.url, "") as one, connected(api.url, "") as other:
        with ThreadPoolExecutor(2) as calls:
            told = [
                calls.submit(
                    remote.schedule,
                    each.client,
                    "ctgi_gallery",
                    GIVEN,
                    settings,
                    "",
                    name="ctgi_gallery",
                    cron=cron,
                )
                for each, cron in ((one, "0 3 * * *"), (other, "0 3 * * *" if same else "0 4 * * *"))
            ]
            said = [call.result() for call in told]
    [left] = api.schedules
    assert left in {each.id for each in said} and all(each.changed for each in said)
    if same:
        assert {each.id for each in said} == {left}


@pytest.mark.parametrize("cron", ["every day", "* * *", ""])
def test_a_cron_that_is_none_is_refused(
    api: KfpApi, cluster: Path, cron: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schedule(api, cluster, cron=cron) == 2
    assert "five fields" in capsys.readouterr().err and not api.schedules


def test_the_token_comes_from_the_environment_and_is_never_shown(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with kfp_api(token="very-secret") as api:
        assert schedule(api, cluster) == 2
        assert "CTGI_KFP_TOKEN" in (said := capsys.readouterr().err) and said.count("ctgi:") == 1
        monkeypatch.setenv("CTGI_KFP_TOKEN", "very-secret")
        assert schedule(api, cluster) == 0
        monkeypatch.delenv("CTGI_KFP_TOKEN")
        file = tmp_path / "token"
        file.write_text("very-secret", encoding="utf-8")
        monkeypatch.setenv("CTGI_KFP_TOKEN_FILE", str(file))
        assert schedule(api, cluster) == 0
        out = capsys.readouterr()
        assert "very-secret" not in out.out + out.err and len(api.schedules) == 1


def test_a_server_too_old_and_one_that_is_not_there(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with kfp_api(version="2.5.0") as api:
        assert schedule(api, cluster) == 2
        assert "2.14 or later" in capsys.readouterr().err and not api.pipelines
        url = api.url
    words = ["schedule", "ctgi_gallery", "--host", url, "--cron", "0 3 * * *", *WORDS]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "cannot be reached" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html><form>Log in</form></html>", "answers with a page"),
        (403, b'{"message": "RBAC: access denied"}', "says 403 RBAC: access denied; set CTGI_KFP_TOKEN"),
        (404, b"no such page", "says 404 Not Found; --host may need a path"),
        (502, b"bad gateway", "says 502 Bad Gateway; see its log"),
        (200, b"{}", "does not answer as Kubeflow Pipelines does"),
    ],
)
def test_what_is_not_the_api_is_said_in_one_line(
    status: int, body: bytes, said: str, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login's page, a gateway, something that speaks JSON."""
    kind = "application/json" if body[:1] == b"{" else "text/html"
    with http_server(lambda *_: (status, kind, body)) as host:
        url = f"http://{host}"
        words = ["submit", "ctgi_gallery", "--host", url, "--cluster", str(cluster), "--no-preflight", *WORDS]
        assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("host", ["kfp.example.org", "ftp://kfp.example.org", ""])
def test_a_host_that_is_no_url(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "ctgi_gallery", "--host", host, *WORDS]) == 2
    assert "write https://" in capsys.readouterr().err


def test_nothing_is_sent_for_parameters_that_are_wrong(api: KfpApi, cluster: Path) -> None:
    assert schedule(api, cluster, "--set", "per_shard=0") == 2
    assert not api.pipelines and not api.schedules
