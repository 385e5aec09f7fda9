"""Say how a run ended, whatever happened in it."""

import json
import os
import time
import urllib.request
from datetime import UTC, datetime

from kfp import dsl

from components import page
from components.workspace import Workspace

PAUSES = (2, 10, 0)
"""Seconds after each try to post."""


def report_state(
    status: dsl.PipelineTaskFinalStatus,
    pipeline: str,
    work: str,
    report: dsl.Output[dsl.Markdown],
):
    """Say how a run ended: in the workspace, and to the address of CTGI_NOTIFY_URL where one is set.

    Args:
        status: what KFP says.
        pipeline: its name.
        work: the workspace; the record goes to `runs/`.
        report: the same for people.
    """
    from components.report_state import tell
    from components.step import step

    with step("report_state"):
        if status is None:
            told = {"state": "UNKNOWN", "failed": "", "run": ""}
        else:
            failed = status.error_message or ""
            told = {"state": status.state, "failed": failed, "run": status.pipeline_job_resource_name}
        tell(told, pipeline, work, report.path)


def tell(told: dict, pipeline: str, work: str, report: str) -> None:
    now = datetime.now(UTC)
    record = {"pipeline": pipeline, "ended": now.isoformat(timespec="seconds"), **told}
    data = json.dumps(record, indent=2).encode() + b"\n"
    print(f"{pipeline}: {told['state']} {told['failed']}".strip(), flush=True)
    page.write(report, page.table([record]))
    # Before the workspace, which may be what the run failed of.
    if address := os.environ.get("CTGI_NOTIFY_URL"):
        _post(address, data)
    Workspace(work).write(f"runs/{pipeline}-{now:%Y%m%dT%H%M%S%f}.json", data)


def _post(address: str, data: bytes) -> None:
    """Send the record. The run's outcome is not changed by a mailbox that is full."""
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    for pause in PAUSES:
        try:
            urllib.request.urlopen(request, timeout=20).close()
            return
        except OSError as error:
            print(f"the state could not be reported: {getattr(error, 'reason', error)}", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    from components.step import entry

    raise SystemExit(entry(report_state))
