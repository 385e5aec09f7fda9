"""Imports run one way, the library stands alone, and the command line starts without the heavy packages."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "ctgi"

# Every package of the library and what it may import besides itself and ctgi.errors.
GROUND = {"encoders", "storage", "mllm", "datasets"}
FIRST = GROUND | {"captioning", "export"}
MAY_IMPORT = {
    "encoders": set(),
    "storage": set(),
    "mllm": set(),
    "datasets": set(),
    "captioning": GROUND,
    "export": GROUND,
    "gallery": FIRST,
    "interaction": FIRST | {"gallery"},
    "evaluation": FIRST | {"gallery", "interaction"},
    "training": FIRST | {"gallery", "interaction", "evaluation"},
    "cli": FIRST | {"gallery", "interaction", "evaluation", "training"},
}
OUTSIDE = {"demo", "components", "pipelines", "serving", "benchmarks", "kfp", "kubernetes", "tests"}
TRAINING_ONLY = {"torch", "torchvision", "open_clip", "transformers", "accelerate", "timm"}
HEAVY = TRAINING_ONLY | {
    "numpy",
    "openai",
    "onnxruntime",
    "onnx",
    "faiss",
    "pyarrow",
    "matplotlib",
    "PIL",
    "rich",
}
SEARCH_TIME = [
    "mllm",
    "captioning",
    "gallery",
    "interaction",
    "export/runtime.py",
    "cli/search.py",
    "cli/index.py",
]


def python_files(path: Path) -> list[Path]:
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Full names of the modules that a file imports; those under TYPE_CHECKING are no imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    walk(other)
            elif isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = list(package[: len(package) - child.level + 1]) if child.level else []
                module = ".".join([*base, *([child.module] if child.module else [])])
                names.update(f"{module}.{alias.name}" for alias in child.names)
            elif not (
                top_level_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            ):
                walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return names


def packages_of_ctgi(names: set[str]) -> set[str]:
    return {parts[1] for name in names if (parts := name.split("."))[0] == "ctgi" and len(parts) > 1}


def test_every_package_is_on_the_list() -> None:
    there = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert there == set(MAY_IMPORT)


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_run_downward(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package, "errors", "__version__"}
    for path in python_files(LIBRARY / package):
        extra = packages_of_ctgi(imported(path)) - allowed
        assert not extra, f"{path.relative_to(ROOT)} imports ctgi.{extra.pop()}"


def test_the_reader_of_imports_sees_them_all(tmp_path: Path) -> None:
    """The checks above are only as good as `imported`: each way to write an import is found."""
    code = "import a.b\nfrom ctgi.x import y\nfrom . import z\nfrom ..q import r\ndef f():\n    import late\n"
    path = ROOT / "ctgi" / "some" / "file.py"
    original = Path.read_text
    try:
        Path.read_text = lambda self, **_: code  # type: ignore[method-assign, assignment]
        assert imported(path) == {"a.b", "ctgi.x.y", "ctgi.some.z", "ctgi.q.r", "late"}
        assert imported(path, top_level_only=True) == {"a.b", "ctgi.x.y", "ctgi.some.z", "ctgi.q.r"}
    finally:
        Path.read_text = original  # type: ignore[method-assign]


def test_the_library_knows_nothing_above_it() -> None:
    for path in python_files(LIBRARY):
        above = {name.split(".")[0] for name in imported(path)} & OUTSIDE
        assert not above, f"{path.relative_to(ROOT)} imports {above.pop()}"


@pytest.mark.parametrize("place", SEARCH_TIME)
def test_search_time_code_needs_no_training_packages(place: str) -> None:
    files = python_files(LIBRARY / place)
    assert files
    for path in files:
        heavy = {name.split(".")[0] for name in imported(path)} & TRAINING_ONLY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy.pop()}"


def test_the_command_line_imports_heavy_packages_only_when_it_runs_a_command() -> None:
    for path in python_files(LIBRARY / "cli"):
        heavy = {name.split(".")[0] for name in imported(path, top_level_only=True)} & HEAVY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy.pop()} at its top"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["search", "--help"], ["train", "--help"]])
def test_help_is_quick(words: list[str]) -> None:
    """Times depend on the machine; what makes help slow are imports, so the loaded modules are looked at."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ctgi", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {
        line.rpartition("|")[2].strip().split(".")[0] for line in run.stderr.splitlines() if "|" in line
    }
    assert "argparse" in loaded
    assert not loaded & (HEAVY | {"yaml", "httpx", "pydantic"})


def test_the_wheel_holds_ctgi_alone() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["ctgi"]
    heavy = {"torch", "transformers", "open_clip_torch", "onnxruntime", "faiss-cpu", "openai"}
    assert not heavy & {name.split(">")[0] for name in project["project"]["dependencies"]}
    for extra in ("search", "caption"):
        assert not {"torch", "transformers", "open_clip_torch"} & {
            name.split(">")[0] for name in project["project"]["optional-dependencies"][extra]
        }
