"""The two bindings of a step are one interface, and its entry point takes what KFP gives it."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.binding import ROOT, STEPS, container_steps, function_of, local_steps
from components.step import _kind

LOCAL, CONTAINER = local_steps(), container_steps("registry.example/ctgi@sha256:0")


def interface(component: Any) -> dict[str, list[tuple[str, str, bool, Any]]]:
    spec = component.component_spec
    return {
        "inputs": [
            (name, str(each.type), each.optional, each.default) for name, each in (spec.inputs or {}).items()
        ],
        "outputs": [
            (name, str(each.type), each.is_artifact_list, None) for name, each in (spec.outputs or {}).items()
        ],
    }


def test_every_file_with_a_step_is_on_the_list() -> None:
    files = {
        path.stem
        for path in (ROOT / "components").glob("*.py")
        if "raise SystemExit(entry(" in path.read_text(encoding="utf-8")
    }
    assert files == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_both_bindings_have_the_same_interface(name: str) -> None:
    ours, theirs = getattr(LOCAL, name), getattr(CONTAINER, name)
    assert interface(ours) == interface(theirs)
    assert interface(ours)["outputs"], f"{name} leaves nothing behind"


@pytest.mark.parametrize("name", STEPS)
def test_what_kfp_reads_off_the_function_is_what_its_entry_point_takes(name: str) -> None:
    """The entry point has a reader of its own for annotations; KFP's is compared with it."""
    function, found = function_of(name), interface(getattr(CONTAINER, name))
    kinds = {key: _kind(p.annotation)[0] for key, p in inspect.signature(function).parameters.items()}
    taken = [
        key
        for key, kind in kinds.items()
        if kind in ("parameter", "input artifact", "input artifacts", "status")
    ]
    given = [key for key, kind in kinds.items() if kind.startswith("output")]
    assert sorted(key for key, *_ in found["inputs"]) == sorted(taken)
    assert sorted(key for key, *_ in found["outputs"] if key != "Output") == sorted(given)


@pytest.mark.parametrize("name", STEPS)
def test_a_container_runs_the_steps_own_entry_point(name: str) -> None:
    container = getattr(CONTAINER, name).component_spec.implementation.container
    assert list(container.command) == ["python", "-m", f"components.{name}"]
    assert list(container.args) == ["--executor-input", "{{$}}"]
    assert container.image == "registry.example/ctgi@sha256:0"


@pytest.mark.parametrize("name", STEPS)
def test_every_input_and_output_is_described(name: str) -> None:
    described = inspect.getdoc(function_of(name)) or ""
    for argument in inspect.signature(function_of(name)).parameters:
        assert f"\n    {argument}: " in described, f"{name}: {argument}"


@pytest.mark.parametrize("name", STEPS)
def test_a_steps_body_needs_nothing_from_outside_of_it(name: str) -> None:
    """A lightweight component is the function alone: what its file imports is not there."""
    used = {one.argval for one in dis.get_instructions(function_of(name)) if one.opname == "LOAD_GLOBAL"}
    assert used <= set(vars(builtins)), f"{name} uses {sorted(used - set(vars(builtins)))}"


def call(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"components.{name}", *words],
        cwd=ROOT,
        env={**os.environ, "_KFP_RUNTIME": "true"},
        capture_output=True,
        text=True,
    )


def test_a_step_by_hand_and_as_kfp_calls_it_do_the_same(tmp_path: Path, pictures: Path) -> None:
    words = ["--pictures", str(pictures), "--work", str(tmp_path / "work"), "--per-shard", "2"]
    by_hand = call("plan_shards", *words, "--outputs", str(tmp_path / "hand"))
    assert by_hand.returncode == 0, by_hand.stderr
    told = json.loads((tmp_path / "hand" / "outputs.json").read_text(encoding="utf-8"))["parameters"]

    kfp = tmp_path / "kfp"
    executor_input = {
        "inputs": {
            "parameterValues": {"pictures": str(pictures), "work": str(tmp_path / "work"), "per_shard": 2}
        },
        "outputs": {
            "parameters": {key: {"outputFile": str(kfp / key)} for key in ("listing", "Output")},
            "artifacts": {
                "report": {
                    "artifacts": [
                        {
                            "name": "report",
                            "type": {"schemaTitle": "system.Markdown", "schemaVersion": "0.0.1"},
                            "uri": str(kfp / "report"),
                            "metadata": {},
                        }
                    ]
                }
            },
            "outputFile": str(kfp / "executor_output.json"),
        },
    }
    by_kfp = call("plan_shards", "--executor-input", json.dumps(executor_input))
    assert by_kfp.returncode == 0, by_kfp.stderr
    said = json.loads((kfp / "executor_output.json").read_text(encoding="utf-8"))["parameterValues"]
    assert json.loads(said["Output"]) if isinstance(said["Output"], str) else said["Output"] == told["Output"]
    assert (kfp / "listing").read_text(encoding="utf-8") == told["listing"]
    assert "5 pictures" in (kfp / "report").read_text(encoding="utf-8")


def test_a_step_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    ended = call(
        "plan_shards", "--pictures", str(nothing), "--work", str(tmp_path), "--outputs", str(tmp_path / "o")
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"plan_shards: {nothing}") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(("floor", "may"), [("components", {"ctgi"}), ("pipelines", {"ctgi", "components"})])
def test_imports_run_downward(floor: str, may: set[str]) -> None:
    """Steps stand on the library, pipelines on steps; nothing of either knows the demo or the servers."""
    above = {"demo", "components", "pipelines", "serving", "benchmarks", "tests"} - may - {floor}
    for path in (ROOT / floor).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            wrong = {name.split(".")[0] for name in names} & above
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong.pop()}"
