"""`ctgi pipeline compile | run | submit | schedule`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctgi.cli.main import OneLineParser
from ctgi.errors import CtgiError
from pipelines.catalog import PIPELINES
from pipelines.cluster import Cluster

EXAMPLES = """\
examples:
  ctgi pipeline compile --out compiled/ --cluster cluster.yaml
  ctgi pipeline compile --check                       # pipelines/compiled is what the code says
  ctgi pipeline run ctgi_train --local --config run.yaml --set pictures=/data/photos
  ctgi pipeline run ctgi_train --docker ctgi/pipeline:1 --config run.yaml
  ctgi pipeline submit ctgi_train --host https://kfp.example.org --cluster cluster.yaml --config run.yaml
  ctgi pipeline schedule ctgi_refresh --cron "0 3 * * *" --host https://kfp.example.org --config run.yaml"""


def main(words: Sequence[str]) -> int:
    """Run one verb; bad input is one line and exit code 2."""
    try:
        options = _parser().parse_args(list(words))
        return int(options.verb_function(options))
    except CtgiError as error:
        print(f"ctgi: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ctgi: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="ctgi pipeline",
        description="Compile pipelines, run them here, or hand them to Kubeflow Pipelines.\n\n"
        + "\n".join(f"  {name:<14} {what}" for name, what in PIPELINES.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=OneLineParser)

    compiling = verbs.add_parser("compile", help="write the YAML for KFP and for Kubernetes")
    compiling.add_argument("--out", type=Path, help="folder (default: pipelines/compiled)")
    compiling.add_argument("--check", action="store_true", help="compare with the files there instead")
    _cluster(compiling)
    compiling.set_defaults(verb_function=_compile)

    running = verbs.add_parser("run", help="run on this machine")
    _parameters(running)
    where = running.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", action="store_true", help="each step a process")
    where.add_argument("--docker", metavar="IMAGE", help="each step a container of this image")
    running.add_argument(
        "--root", type=Path, default=Path("out/pipelines"), metavar="FOLDER",
        help="KFP's outputs, cache and logs; all that containers see (default: %(default)s)",
    )  # fmt: skip
    running.add_argument("--network", default="host", help="of containers (default: %(default)s)")
    running.add_argument("--shm-size", default="2g", help="of containers (default: %(default)s)")
    running.add_argument(
        "--gpus", type=int, default=0, metavar="N",
        help="train on N GPUs, by torchrun if more than one; containers get them (0: one if it is seen)",
    )  # fmt: skip
    running.add_argument(
        "--env", action="append", default=[], metavar="NAME", help="environment variable passed to containers"
    )
    running.add_argument("--json", type=Path, metavar="FILE", help="write how it ended to FILE")
    running.set_defaults(verb_function=_run)

    submitting = verbs.add_parser("submit", help="start a run on a cluster")
    _parameters(submitting)
    _remote(submitting)
    submitting.set_defaults(verb_function=_submit)

    scheduling = verbs.add_parser("schedule", help="run again and again on a cluster")
    _parameters(scheduling)
    _remote(scheduling)
    scheduling.add_argument("--cron", required=True, help="five fields, or six with the seconds first")
    scheduling.add_argument(
        "--name", help="of the schedule; there is one of a name (default: the pipeline's)"
    )
    scheduling.set_defaults(verb_function=_schedule)
    return parser


def _parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", choices=list(PIPELINES), metavar="PIPELINE", help=", ".join(PIPELINES))
    parser.add_argument("--config", type=Path, metavar="YAML", help="parameters from a file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter; wins over the file"
    )
    parser.add_argument("--no-preflight", action="store_true", help="start without trying anything first")


def _cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", type=Path, metavar="YAML", help="image, claims, secrets, GPUs, retries")


def _remote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", required=True, metavar="URL", help="of the API of Kubeflow Pipelines")
    parser.add_argument("--namespace", default="", help="in a multi-user installation")
    _cluster(parser)


def _values(options: argparse.Namespace) -> dict[str, Any]:
    """The parameters, checked."""
    from components.binding import container_steps
    from pipelines import parameters
    from pipelines.catalog import build
    from pipelines.catalog import parameters as known

    pipeline = build(options.pipeline, container_steps("any"), None)
    return parameters.read(options.pipeline, known(pipeline), options.config, options.set)


def _compile(options: argparse.Namespace) -> int:
    from pipelines import compiling

    cluster, out = Cluster.read(options.cluster), options.out or compiling.HERE
    if options.check:
        wrong = compiling.differences(out, cluster)
        if wrong:
            raise CtgiError(f"{out}: not what is compiled now: {', '.join(wrong)}; run ctgi pipeline compile")
        print(f"{out}: as compiled now")
        return 0
    for path in compiling.write(out, cluster):
        print(path)
    return 0


def _run(options: argparse.Namespace) -> int:
    from pipelines import here, preflight

    values = _values(options)
    image = options.docker or ""
    if options.gpus < 0:
        raise CtgiError(f"--gpus {options.gpus}: a number from 0")
    if not options.no_preflight:
        _tell(preflight.check_here(values, image, options.root, options.gpus))
    docker = _container_arguments(options) if image else None
    ended = here.run(options.pipeline, values, options.root, image=image, docker=docker, gpus=options.gpus)
    counts = ", ".join(f"{count} {what}" for what, count in ended.steps.items())
    print(f"{options.pipeline}: {counts}; {ended.seconds:.1f} s; log {ended.log}")
    if options.json is not None:
        from ctgi.storage.atomic import write_json

        figures = {"ok": ended.ok, "seconds": ended.seconds, "steps": ended.steps, "problems": ended.problems}
        write_json(options.json, {**figures, "log": str(ended.log)})
    if not ended.ok:
        why = "; ".join(ended.problems) or "its log says why"
        raise CtgiError(f"{options.pipeline} failed: {why}; run it again to go on from there ({ended.log})")
    return 0


def _container_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What `docker run` gets besides image, command and the folder. Files come to belong to the caller."""
    passed = [name for name in os.environ if name.startswith(("CTGI_", "AWS_", "OPENAI_API_KEY"))]
    arguments: dict[str, Any] = {
        "network_mode": options.network,
        "shm_size": options.shm_size,
        "user": f"{os.getuid()}:{os.getgid()}",
        "environment": {name: os.environ[name] for name in [*passed, *options.env] if name in os.environ},
    }
    if options.gpus:
        import docker

        arguments["device_requests"] = [
            docker.types.DeviceRequest(count=options.gpus, capabilities=[["gpu"]])
        ]
    return arguments


def _submit(options: argparse.Namespace) -> int:
    from pipelines import preflight, remote

    values, cluster = _values(options), Cluster.read(options.cluster)
    with remote.connected(options.host, options.namespace) as api:
        if not options.no_preflight:
            _tell(preflight.check_there(values, cluster, api.version))
        run = remote.submit(api.client, options.pipeline, values, cluster, options.namespace)
    print(f"{options.pipeline}: run {run}, {options.host.rstrip('/')}/#/runs/details/{run}")
    return 0


def _schedule(options: argparse.Namespace) -> int:
    from pipelines import preflight, remote

    values, cluster = _values(options), Cluster.read(options.cluster)
    name = options.name or options.pipeline
    with remote.connected(options.host, options.namespace) as api:
        if not options.no_preflight:
            _tell(preflight.check_there(values, cluster, api.version))
        done = remote.schedule(
            api.client, options.pipeline, values, cluster, options.namespace, name=name, cron=options.cron
        )
    word = "made" if done.changed else "is there already"
    gone = f", {done.removed} older removed" if done.removed else ""
    print(f"schedule {name} {word}{gone}: {options.cron}, {json.dumps(done.id)}")
    return 0


def _tell(checks: Sequence[Any]) -> None:
    from components.checks import failed

    for check in checks:
        print(check, file=sys.stderr)
    failed(checks)
