"""Runs and schedules on a cluster, by the API of Kubeflow Pipelines.

Who is calling comes from the environment, never from flags: CTGI_KFP_TOKEN, CTGI_KFP_TOKEN_FILE (read again
with every request: a projected service account token), CTGI_KFP_COOKIES; in a pod of the cluster the service
account's own token at its usual place is used. A certificate authority of one's own: CTGI_KFP_CA.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctgi.errors import CtgiError
from pipelines.cluster import Cluster
from pipelines.compiling import text, version_name

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
EXPERIMENT = "ctgi"
WHO = "CTGI_KFP_TOKEN, CTGI_KFP_TOKEN_FILE or CTGI_KFP_COOKIES"


@dataclass(frozen=True)
class Scheduled:
    """A schedule: `changed` says whether this call made it, `removed` how many others of its name went."""

    id: str
    changed: bool
    removed: int


@dataclass(frozen=True)
class Api:
    """A connection: KFP's client, and the version that the server says it has ("" where it says none)."""

    client: Any
    version: str


@contextmanager
def connected(host: str, namespace: str) -> Iterator[Api]:
    """The API at `host`. What it refuses becomes one line; what KFP's client prints is left out."""
    import kfp
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    token, file = _token()
    cookies, authority = os.environ.get("CTGI_KFP_COOKIES"), os.environ.get("CTGI_KFP_CA")
    credentials = None
    if file:
        from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

        credentials = ServiceAccountTokenVolumeCredentials(file)
    # Before the client, which tries five times for half a minute and prints a traceback each time.
    version = _version(
        host, token or (Path(file).read_text(encoding="utf-8").strip() if file else ""), cookies
    )
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = kfp.Client(
                host=host,
                namespace=namespace or "kubeflow",
                existing_token=token or None,
                cookies=cookies,
                credentials=credentials,
                ssl_ca_cert=authority,
            )
            yield Api(client, version)
    except kfp_server_api.ApiException as error:
        raise _refused(host, int(error.status or 0), error.body, error.reason) from error
    except kfp_server_api.OpenApiException as error:  # an answer without what has to be in it
        raise CtgiError(f"{host}: does not answer as Kubeflow Pipelines does ({_line(error)})") from error
    except (HTTPError, OSError, TimeoutError) as error:
        raise CtgiError(f"{host}: cannot be reached ({_line(error)}); check --host") from error


def _token() -> tuple[str, str]:
    """The token, or the file that holds it."""
    if token := os.environ.get("CTGI_KFP_TOKEN"):
        return token, ""
    if file := os.environ.get("CTGI_KFP_TOKEN_FILE"):
        if not Path(file).is_file():
            raise CtgiError(f"{file}: no such token file; check CTGI_KFP_TOKEN_FILE")
        return "", file
    return "", str(SERVICE_ACCOUNT_TOKEN) if SERVICE_ACCOUNT_TOKEN.is_file() else ""


def _version(host: str, token: str, cookies: str | None) -> str:
    """What the server says it is, "" where it says nothing.

    Raises CtgiError where it does not let us in, or is something else than Kubeflow Pipelines.
    """
    if urllib.parse.urlsplit(host).scheme not in ("http", "https"):
        raise CtgiError(f"--host {host}: no URL of an API; write https://…")
    headers = {"Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Cookie": cookies} if cookies else {}
    _health(host, "v2beta1", headers)
    try:
        return str(_health(host, "v1beta1", headers).get("tag_name") or "")  # only the old API tells
    except CtgiError:
        return ""


def _health(host: str, api: str, headers: Mapping[str, str]) -> dict[str, Any]:
    address = f"{host.rstrip('/')}/apis/{api}/healthz"
    try:
        context = ssl.create_default_context(cafile=os.environ.get("CTGI_KFP_CA"))
        request = urllib.request.Request(address, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            said = json.loads(answer.read())
        if not isinstance(said, dict):
            raise ValueError("not an object")
    except urllib.error.HTTPError as error:
        raise _refused(host, error.code, error.read(), error.reason) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise CtgiError(f"{host}: cannot be reached ({reason}); check --host") from error
    except ValueError as error:
        raise CtgiError(
            f"{host}: answers with a page, not as the API does: a login? Set {WHO}, and give --host with its "
            "path, such as https://kubeflow.example.org/pipeline"
        ) from error
    return said


def _refused(host: str, status: int, body: Any, reason: Any) -> CtgiError:
    try:
        said = " ".join(str(json.loads(body).get("message", ""))[:200].split())
    except (TypeError, ValueError, AttributeError):
        said = str(reason or "")
    hints = {401: f"set {WHO}", 403: f"set {WHO}", 404: "--host may need a path, such as /pipeline"}
    hint = hints.get(status, "see its log")
    return CtgiError(f"{host}: Kubeflow Pipelines says {status} {said}; {hint}")


def submit(client: Any, pipeline: str, values: Mapping[str, Any], cluster: Cluster, namespace: str) -> str:
    """Start one run; returns its id. The pipeline is uploaded as a version where it is not there yet."""
    version = upload(client, pipeline, cluster, namespace)
    experiment = client.create_experiment(EXPERIMENT, namespace=namespace or None)
    run = client.run_pipeline(
        experiment_id=experiment.experiment_id,
        job_name=f"{pipeline} {version.display_name}",
        pipeline_id=version.pipeline_id,
        version_id=version.pipeline_version_id,
        params=dict(values),
    )
    return str(run.run_id)


def schedule(
    client: Any,
    pipeline: str,
    values: Mapping[str, Any],
    cluster: Cluster,
    namespace: str,
    *,
    name: str,
    cron: str,
) -> Scheduled:
    """Leave exactly one schedule of this name, with these settings; the same call again changes nothing.

    No catch-up: a run that was missed is not made up for. One run at a time. The new schedule is made before
    older ones go, and of calls at the same time none removes what another made after it has looked: a new
    schedule bears a number above all that its maker saw, and only lower ones are removed. So the highest is
    removed by nobody.
    """
    fields = cron.split()
    if len(fields) == 5:
        cron = " ".join(["0", *fields])
    elif len(fields) != 6:
        raise CtgiError(f"cron {cron!r}: five fields, or six with the seconds first, such as '0 0 3 * * *'")
    version = upload(client, pipeline, cluster, namespace)
    wanted = json.dumps([version.pipeline_version_id, cron, dict(values)], sort_keys=True)
    settings = hashlib.sha256(wanted.encode()).hexdigest()
    experiment = client.create_experiment(EXPERIMENT, namespace=namespace or None)
    there = _named(client, name, experiment.experiment_id)
    changed = not there or _settings(there[-1]) != settings or there[-1].status == "DISABLED"
    if changed:
        made = client.create_recurring_run(
            experiment_id=experiment.experiment_id,
            job_name=name,
            description=f"ctgi {_rank(there[-1])[0] + 1 if there else 1} {settings}",
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(values),
            pipeline_id=version.pipeline_id,
            version_id=version.pipeline_version_id,
        )
        there = _named(client, name, experiment.experiment_id)
        mine = next((one for one in there if one.recurring_run_id == made.recurring_run_id), made)
    else:
        mine = there[-1]
    lower = [one for one in there if _rank(one) < _rank(mine)]
    for one in lower:
        _remove(client, one.recurring_run_id)
    # Somebody may have asked for the same at the same time: then theirs, if it is higher, is what stays.
    same = [one for one in there if _settings(one) == settings]
    return Scheduled((same or [mine])[-1].recurring_run_id, changed, len(lower))


def _rank(schedule: Any) -> tuple[int, str]:
    """Which of two schedules is the later one; the id decides between two that did not see each other."""
    number = (str(schedule.description or "").split() + ["", ""])[1]
    return int(number) if number.isdecimal() else 0, schedule.recurring_run_id


def _settings(schedule: Any) -> str:
    """The digest of a schedule's settings, "" where it was not made here."""
    return (str(schedule.description or "").split() + ["", "", ""])[2]


def _remove(client: Any, id: str) -> None:
    """Remove a schedule; that somebody else has removed it is no error."""
    import kfp_server_api

    try:
        client.delete_recurring_run(id)
    except kfp_server_api.ApiException as error:
        if error.status != 404:
            raise


def upload(client: Any, pipeline: str, cluster: Cluster, namespace: str) -> Any:
    """The pipeline's version on the server for what is compiled now; uploaded where it is not there.

    Its name is that of `ctgi`'s version and of the compiled text, so one name never means two things.
    """
    compiled = text(pipeline, cluster)
    name = version_name(pipeline, compiled)
    shown = pipeline.replace("_", "-")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, f"{shown}.yaml")
        file.write_text(compiled, encoding="utf-8")
        id = client.get_pipeline_id(shown)
        if id is None:
            id = client.upload_pipeline(
                str(file), pipeline_name=shown, namespace=namespace or None
            ).pipeline_id
        for version in _all(client.list_pipeline_versions, "pipeline_versions", pipeline_id=id):
            if version.display_name == name:
                return version
        return client.upload_pipeline_version(str(file), pipeline_version_name=name, pipeline_id=id)


def _named(client: Any, name: str, experiment: str) -> list[Any]:
    """The schedules of that name, the latest one last."""
    every = _all(client.list_recurring_runs, "recurring_runs", experiment_id=experiment)
    return sorted((one for one in every if one.display_name == name), key=_rank)


def _all(call: Any, field: str, **arguments: Any) -> Iterator[Any]:
    """Every item of a list that comes in pages."""
    page = ""
    while True:
        answer = call(page_token=page, page_size=100, **arguments)
        yield from getattr(answer, field) or []
        page = answer.next_page_token or ""
        if not page:
            return


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
