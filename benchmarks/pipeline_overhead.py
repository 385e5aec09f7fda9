"""What the graph costs: `ctgi_train` on this machine against the plain commands in a row.

The same pictures, settings and model for both, each from nothing; each has a server of its own, so that no
prefix cache helps the second. CTGI_BENCH_PEOPLE training people of two pictures (25 if unset). The graph does
more than the commands: it tries everything first, verifies the release once more as it lies on disk, draws
what people look at, and writes lineage.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Ratio
from ctgi.errors import CtgiError

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {
    "epochs": 6, "batch-size": 32, "base-lr": 5e-5, "adam-eps": 1e-8, "lr-step": "step", "device": "cpu",
    "select": "mAP",
}  # fmt: skip

Way = Callable[[Path, Path, str], list[list[str]]]


def measure(out: Path) -> list[Ratio]:
    """Seconds from pictures to a published release.

    Raises:
        CtgiError: the small models' weights are not there, or a command fails.
    """
    from demo.models.launch import CLIP, QWEN2VL, running

    if not (QWEN2VL / "model.safetensors").is_file() or not (CLIP / "model.safetensors").is_file():
        raise CtgiError(f"{CLIP.parent}: the small models' weights are not there; train them")
    people = int(os.environ.get("CTGI_BENCH_PEOPLE", "25"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _render(place / "world", people)
        seconds = {}
        ways: dict[str, Callable[[Path, Path, str], list[list[str]]]] = {
            "plain": _plain,
            "pipeline": _pipeline,
        }
        for name, words in ways.items():
            with running() as url:
                (place / name).mkdir()
                start = time.perf_counter()
                for command in words(place / "world", place / name, url):
                    _run(command, place / f"{name}.log")
                seconds[name] = time.perf_counter() - start
    facts = {"pictures": 2 * people, "load": os.getloadavg()[0]}
    name = "ctgi_train as a graph against its commands in a row"
    return [Ratio(name, seconds["pipeline"], seconds["plain"], facts=facts)]


def _plain(world: Path, out: Path, url: str) -> list[list[str]]:
    """What the pipeline does, by hand: the same work, no graph."""
    from demo.models.launch import CLIP, QWEN2VL

    settings = out / "settings.yaml"
    settings.write_text(json.dumps(TRAINING), encoding="utf-8")
    layout, model = ["--layout", "rstpreid"], ["--server", url, "--model", QWEN2VL.name]
    fit = ["--calibrate", str(world), *layout]
    return [
        ["caption", str(world), *layout, "--out", str(out / "captions"), *model],
        ["train", str(out / "captions" / "captions.parquet"), "--pictures", str(world / "imgs"), "--val",
         str(world), *layout, "--out", str(out / "run"), "--encoder", str(CLIP), "--config", str(settings)],
        ["evaluate", str(world), *layout, "--checkpoint", str(CLIP)],
        ["evaluate", str(world), *layout, "--checkpoint", str(out / "run" / "best")],
        ["export", str(out / "run" / "best"), "--out", str(out / "release"), *fit],
        ["release", "publish", str(out / "release"), "--name", "ctgi", "--store", str(out / "store")],
    ]  # fmt: skip


def _pipeline(world: Path, out: Path, url: str) -> list[list[str]]:
    from demo.models.launch import CLIP, QWEN2VL

    values = {
        "pictures": world, "pictures_layout": "rstpreid", "work": out / "work", "store": out / "store",
        "server": url, "model": QWEN2VL.name, "encoder": CLIP, "data": world, "layout": "rstpreid",
        "training": json.dumps(TRAINING),
    }  # fmt: skip
    words = ["pipeline", "run", "ctgi_train", "--local", "--root", str(out / "root")]
    return [words + [part for name, value in values.items() for part in ("--set", f"{name}={value}")]]


def _render(world: Path, people: int) -> None:
    from demo.pedestrians.world import make_world

    make_world(world, 5, {"train": people, "val": 10, "test": 15}, 2, workers=1, layouts=("rstpreid",))


def _run(words: list[str], log: Path) -> None:
    with log.open("ab") as file:
        done = subprocess.run([sys.executable, "-m", "ctgi", *words], cwd=ROOT, stdout=file, stderr=file)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        raise CtgiError(f"`ctgi {words[0]}` failed: {last}")
