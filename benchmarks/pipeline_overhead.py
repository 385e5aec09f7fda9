"""What the graph costs: `ctgi_train` on this machine against the plain commands in a row.

The same pictures, settings and model for both, each from nothing to a release in a real local S3 server; each
has a language model of its own, so that no prefix cache helps the second. CTGI_BENCH_PEOPLE training people
of two pictures (25 if unset). The graph does more than the commands: it tries everything first, verifies the
release once more as it lies on disk, draws what people look at, and writes lineage. Then it runs once more on
what it left, which should find all but a few steps done.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Ratio
from ctgi.errors import CtgiError

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {
    "epochs": 6, "batch-size": 32, "base-lr": 5e-5, "adam-eps": 1e-8, "lr-step": "step", "device": "cpu",
    "select": "mAP",
}  # fmt: skip

_REUSED, _DONE = re.compile(r" s  \S+ +reused", re.MULTILINE), re.compile(r" s  \S+ +done", re.MULTILINE)


def measure(out: Path) -> list[Ratio]:
    """Seconds from pictures to a published release, and of the graph's second run.

    Raises:
        CtgiError: the small models' weights or the S3 server are not there, or a command fails.
    """
    from demo.models.launch import CLIP, QWEN2VL, running
    from tests.storage import seaweed

    if not (QWEN2VL / "model.safetensors").is_file() or not (CLIP / "model.safetensors").is_file():
        raise CtgiError(f"{CLIP.parent}: the small models' weights are not there; train them")
    try:
        s3 = seaweed.running()
    except RuntimeError as error:
        raise CtgiError(str(error)) from error
    os.environ.update(s3.environment())
    people = int(os.environ.get("CTGI_BENCH_PEOPLE", "25"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _render(place / "world", people)
        seconds = {}
        for name, words in {"plain": _plain, "pipeline": _pipeline}.items():
            with running() as url:
                (place / name).mkdir()
                commands = words(place / "world", place / name, url, s3.url(name))
                log = place / f"{name}.log"
                seconds[name] = sum(_run(command, log) for command in commands)
                if name == "pipeline":
                    seconds["again"] = sum(_run(command, place / "again.log") for command in commands)
        again = (place / "again.log").read_text(encoding="utf-8")
    facts = {"pictures": 2 * people, "load": os.getloadavg()[0]}
    steps = {"reused": len(_REUSED.findall(again)), "done": len(_DONE.findall(again))}
    return [
        Ratio(
            "ctgi_train as a graph against its commands in a row",
            seconds["pipeline"],
            seconds["plain"],
            facts=facts,
        ),
        Ratio(
            "ctgi_train once more against the first time",
            seconds["again"],
            seconds["pipeline"],
            facts={**facts, **steps},
        ),
    ]


def _plain(world: Path, out: Path, url: str, store: str) -> list[list[str]]:
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
        ["release", "publish", str(out / "release"), "--name", "ctgi", "--store", store],
    ]  # fmt: skip


def _pipeline(world: Path, out: Path, url: str, store: str) -> list[list[str]]:
    from demo.models.launch import CLIP, QWEN2VL

    values = {
        "pictures": world, "pictures_layout": "rstpreid", "work": out / "work", "store": store,
        "server": url, "model": QWEN2VL.name, "encoder": CLIP, "data": world, "layout": "rstpreid",
        "training": json.dumps(TRAINING),
    }  # fmt: skip
    words = ["pipeline", "run", "ctgi_train", "--local", "--root", str(out / "root")]
    return [words + [part for name, value in values.items() for part in ("--set", f"{name}={value}")]]


def _render(world: Path, people: int) -> None:
    from demo.pedestrians.world import make_world

    make_world(world, 5, {"train": people, "val": 10, "test": 15}, 2, workers=1, layouts=("rstpreid",))


def _run(words: list[str], log: Path) -> float:
    """Seconds that a `ctgi` command took."""
    start = time.perf_counter()
    with log.open("ab") as file:
        done = subprocess.run([sys.executable, "-m", "ctgi", *words], cwd=ROOT, stdout=file, stderr=file)
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        raise CtgiError(f"`ctgi {words[0]}` failed: {last}")
    return time.perf_counter() - start
