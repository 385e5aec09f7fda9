"""The training step on several processes, as it starts them for the GPUs of a node."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from components.train import fine_tune
from ctgi.cli.main import main
from ctgi.errors import CtgiError
from ctgi.export.lineage import read_lineage
from pipelines.cluster import Cluster
from pipelines.trainjob import trainjob
from tests.pipelines.conftest import clip, dataset, picture  # noqa: F401

PAIR = {"topic": "", "question": "", "answer": "", "probability": 1.0, "kept": True, "reason": ""}


@pytest.mark.slow
def test_two_processes_train_by_torchrun(
    dataset: Path,  # noqa: F811
    clip: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = []
    for number in range(8):
        picture(tmp_path / "photos" / f"{number}.png", (30 * number, 90, 200), number)
        words = f"A person with number {number} and a bag."
        rows.append(
            {
                "picture_id": f"{number:064x}", "path": f"{number}.png", "identity": number,
                "static_caption": words, "caption": words, "pairs": [PAIR],
            }
        )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "captions")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    started: list[list[str]] = []
    popen = subprocess.Popen

    def seen(command: list[str], **settings: Any) -> Any:
        started.append(command)
        return popen(command, **settings)

    monkeypatch.setattr("components.train.subprocess.Popen", seen)

    def trained(**settings: Any) -> dict[str, float]:
        return fine_tune(
            str(tmp_path / "captions"), "c", str(tmp_path / "photos"), str(tmp_path / "work"), str(clip), "e",
            str(tmp_path / "checkpoint"), str(tmp_path / "curve.html"), "", "", str(dataset), "rstpreid", "d",
            {"epochs": 2, "adam-eps": 1e-8, "device": "cpu", "model": "sdm", "context": 77, **settings}, 2,
        )  # fmt: skip

    with pytest.raises(CtgiError, match="its own line above says why"):
        trained(**{"batch-size": 3.0})
    assert "batch_size=3 cannot be shared evenly by 2 processes" in capfd.readouterr().err

    told = trained(**{"batch-size": 4.0})
    assert started[-1][:5] == [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"
    ]  # fmt: skip
    assert told["epoch"] in (1, 2) and 0 <= told["val R@1"] <= 100
    assert (tmp_path / "checkpoint" / "model.safetensors").is_file()
    assert read_lineage(tmp_path / "checkpoint")["settings"]["batch_size"] == 4
    assert (tmp_path / "curve.html").read_text(encoding="utf-8").count("<circle") >= 2
    [run_of] = [path.parent for path in (tmp_path / "work" / "train").rglob("log.jsonl")]
    assert [json.loads(line)["epoch"] for line in (run_of / "log.jsonl").read_text().splitlines()] == [1, 2]

    # What it left and printed is enough to go on with the run elsewhere, as a TrainJob does: it is finished.
    [said] = [x for x in capfd.readouterr().out.splitlines() if x.startswith(f"train/{run_of.name}: ctgi ")]
    words = shlex.split(said.partition(": ctgi ")[2])
    assert words[1] == str(run_of / "captions.parquet") and str(run_of / "settings.yaml") in words
    before = (run_of / "last.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert (run_of / "last.safetensors").stat().st_mtime_ns == before
    job = yaml.safe_load(trainjob(Cluster()))["spec"]["trainer"]["args"][2:]
    flags = {word.partition("=")[0] for word in job[1:] if word.startswith("--")}
    assert flags == {word for word in words if word.startswith("--")}


@pytest.mark.slow
def test_a_step_that_is_stopped_leaves_no_process_of_torchrun(tmp_path: Path) -> None:
    """Two processes that never end stand in for the training; SIGTERM arrives as an exit, as in a step."""
    (tmp_path / "ctgi").mkdir()
    (tmp_path / "ctgi" / "__init__.py").touch()
    (tmp_path / "ctgi" / "__main__.py").write_text(
        "import os, pathlib, time\npathlib.Path(f'rank-{os.getpid()}').touch()\ntime.sleep(600)\n"
    )
    code = (
        "import signal, sys\n"
        "from components.train import _run\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "_run(['train'], 2)\n"
    )
    root = Path(__file__).resolve().parents[2]
    code = f"import sys\nsys.path.insert(0, {str(root)!r})\n{code}"  # the real package, for the step alone
    started = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while len(ranks := list(tmp_path.glob("rank-*"))) < 2:
            assert started.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        started.terminate()
        assert started.wait(60) == 143
    finally:
        started.kill()
    numbers = [int(rank.name.partition("-")[2]) for rank in ranks]
    assert not [number for number in numbers if Path(f"/proc/{number}").exists()]
