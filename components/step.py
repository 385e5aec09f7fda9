"""What every step does around its work: name itself when it fails, stop cleanly, and run by hand."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, get_args

from ctgi.errors import CtgiError

#: A variable that whoever starts a step sets who gives it a pipe as standard input and a process group of its
#: own: when the pipe closes, which it does even by kill -9 of them, the group ends.
ENDS_WITH_INPUT = "CTGI_STEP_ENDS_WITH_INPUT"
#: Seconds that a step then has to put away what is done.
PATIENCE = 20.0


@contextmanager
def step(name: str, part: str = "") -> Iterator[None]:
    """Bad input becomes one line that names the step and its shard, and exit code 2.

    SIGTERM (a pod that is evicted) becomes an exit, so that what is done is still put away.
    """
    head = f"{name} {part}".strip()
    if os.environ.pop(ENDS_WITH_INPUT, ""):  # popped: it is not for the processes that the step starts
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        before = signal.signal(signal.SIGTERM, _leave)
    except ValueError:  # not the main thread: whoever runs us has their own way to stop
        before = None
    try:
        yield
    except CtgiError as error:
        print(f"{head}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        raise SystemExit(2) from error
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(143)


def _end_with_input() -> None:
    while os.read(0, 1024):  # not `sys.stdin`: Python could not end while a thread waits in its buffer
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


def measured(metrics: Any, told: Mapping[str, float]) -> None:
    """The figures as the artifact's metadata, which KFP shows, and as its file.

    KFP itself writes no file for metrics; its local cache takes an artifact without one for lost.
    """
    for name, value in told.items():
        metrics.log_metric(name, value)
    path = Path(metrics.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(told), indent=2) + "\n", encoding="utf-8")


def ctgi(*words: object, environment: dict[str, str] | None = None) -> None:
    """Run a `ctgi` command in this process. Raises CtgiError where it ends with an error."""
    from ctgi.cli.main import main

    os.environ.update(environment or {})
    command = [str(word) for word in words]
    if main(command) != 0:
        raise CtgiError(f"`ctgi {command[0]}` failed; its own line above says why")


def entry(function: Callable[..., Any], words: Sequence[str] | None = None) -> int:
    """`python -m components.NAME`: the function's arguments as flags, or KFP's own JSON.

    Outputs go below the folder of `--outputs`: a file or folder for each artifact, and `outputs.json` with
    the values and the artifacts' metadata.
    """
    arguments = list(sys.argv[1:] if words is None else words)
    if arguments[:1] == ["--executor-input"]:
        return _for_kfp(function, arguments[1])
    options = _parser(function).parse_args(arguments)

    out: Path = options.outputs
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    parameters: dict[str, Path] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind, what = _kind(parameter.annotation)
        if kind == "output artifact":
            artifacts[name] = values[name] = what(name=name, uri=str(out / name), metadata={})
        elif kind == "output parameter":
            parameters[name] = out / f"{name}.txt"
            values[name] = str(parameters[name])
        elif kind == "input artifact":
            values[name] = what(name=name, uri=getattr(options, name), metadata={})
        elif kind == "input artifacts":
            values[name] = [what(name=name, uri=path, metadata={}) for path in getattr(options, name)]
        elif kind == "status":
            values[name] = None
        else:
            values[name] = getattr(options, name)
    returned = function(**values)
    said = {name: path.read_text(encoding="utf-8") for name, path in parameters.items() if path.exists()}
    record = {
        "parameters": said | ({} if returned is None else {"Output": returned}),
        "metadata": {name: artifact.metadata for name, artifact in artifacts.items() if artifact.metadata},
    }
    (out / "outputs.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _for_kfp(function: Callable[..., Any], executor_input: str) -> int:
    from kfp.dsl.executor import Executor

    Executor(executor_input=json.loads(executor_input), function_to_execute=function).execute()
    return 0


def _parser(function: Callable[..., Any]) -> argparse.ArgumentParser:
    name = function.__name__
    parser = argparse.ArgumentParser(
        prog=f"python -m components.{name}", description=inspect.getdoc(function)
    )
    parser.add_argument("--outputs", type=Path, required=True, metavar="FOLDER", help="where outputs go")
    for argument, parameter in inspect.signature(function).parameters.items():
        kind, what = _kind(parameter.annotation)
        flag = f"--{argument.replace('_', '-')}"
        needed = parameter.default is inspect.Parameter.empty
        if kind.startswith("output") or kind == "status":
            continue
        if kind == "input artifacts":
            parser.add_argument(flag, action="append", required=True, metavar="PATH")
        elif kind == "input artifact":
            parser.add_argument(flag, required=True, metavar="PATH")
        else:
            reads = json.loads if what in (list, dict) else _truth if what is bool else what
            default = None if needed else parameter.default
            parser.add_argument(flag, type=reads, required=needed, default=default, metavar=what.__name__)
    return parser


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("give true or false")
    return text.lower() == "true"


def _kind(annotation: Any) -> tuple[str, Any]:
    """What KFP makes of an annotation: one of the words that `entry` asks for, and the class behind it."""
    from kfp import dsl
    from kfp.dsl.types import type_annotations as kfp_types

    if annotation is dsl.PipelineTaskFinalStatus:
        return "status", None
    if isinstance(annotation, kfp_types.OutputPath):
        return "output parameter", str
    if kfp_types.is_artifact_wrapped_in_Output(annotation):
        return "output artifact", get_args(annotation)[0]
    if kfp_types.is_artifact_wrapped_in_Input(annotation):
        what = get_args(annotation)[0]
        many = kfp_types.is_list_of_artifacts(what)
        return ("input artifacts", get_args(what)[0]) if many else ("input artifact", what)
    return "parameter", annotation
