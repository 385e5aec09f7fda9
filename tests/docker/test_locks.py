"""The images' locks against what the project says: no engine is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("orchestrator", "pipeline", "demo", "tools")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {plain(name): version for name, version in found}


def lock(name: str) -> dict[str, str]:
    return pinned((ROOT / "docker" / f"{name}.txt").read_text(encoding="utf-8"))


def needed(extra: str | None) -> set[str]:
    """The packages that an extra names, other extras of ours opened."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    names: set[str] = set()
    for line in lines:
        ours = re.match(r"ctgi\[([^\]]+)\]", line)
        if ours:
            names.update(*(needed(other.strip()) for other in ours[1].split(",")))
        else:
            names.add(plain(re.match(r"[A-Za-z0-9._-]+", line)[0]))  # type: ignore[index]
    return names


def extras(name: str) -> list[str]:
    """The extras that `make locks` puts into an image."""
    rule = re.search(
        rf"^\t@?\$\(LOCK\) docker/{name}\.txt(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert rule is not None
    return re.findall(r"--extra (\w+)", rule[1])


@pytest.mark.parametrize("name", LOCKS)
def test_locked_versions_are_those_of_the_constraints(name: str) -> None:
    constraints = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    other = {
        package: (version, constraints[package])
        for package, version in lock(name).items()
        if constraints.get(package, version) != version
    }
    assert not other, "run `make locks`"


@pytest.mark.parametrize("name", ["orchestrator", "pipeline", "demo"])
def test_nothing_that_an_image_needs_is_missing(name: str) -> None:
    wanted = needed(None).union(*(needed(extra) for extra in extras(name)))
    assert wanted <= set(lock(name)), "run `make locks`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_its_hashes(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text  # no index of anyone's


def test_the_orchestrator_has_neither_torch_nor_kfp() -> None:
    assert not {"torch", "kfp", "kubernetes", "transformers", "open-clip-torch"} & set(lock("orchestrator"))
    assert {"torch", "kfp"} <= set(lock("pipeline"))


def test_the_demo_adds_to_the_pipeline_and_changes_nothing() -> None:
    steps, demo = lock("pipeline"), lock("demo")
    assert {name: demo[name] for name in steps} == steps
