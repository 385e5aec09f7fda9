"""The command line under torchrun itself, as docs/distributed.md says to start it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ctgi.datasets.annotations import Sample
from ctgi.encoders.loading import load_checkpoint, load_encoder, save_checkpoint
from ctgi.encoders.rde import RdeEncoder
from ctgi.storage.alone import alone
from tests.training.runs import TINY

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(samples: tuple[tuple[Sample, ...], tuple[Sample, ...]], tmp_path: Path) -> Path:
    """24 training and 8 val pictures in RSTPReid's layout; one caption has East Asian punctuation."""
    (tmp_path / "set" / "imgs").mkdir(parents=True)
    people = sorted({sample.identity for sample in samples[0]})
    entries = []
    for split, part in zip(("train", "val"), samples, strict=True):
        for sample in part:
            shutil.copy(sample.picture, tmp_path / "set" / "imgs")
            number = people.index(sample.identity) if split == "train" else 100 + sample.identity
            captions = [*sample.captions, *(["a person，seen"] if not entries else [])]
            entries.append(
                {"split": split, "img_path": sample.picture.name, "id": number, "captions": captions}
            )
    (tmp_path / "set" / "data_captions.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path / "set"


@pytest.mark.slow
def test_the_command_trains_in_two_processes(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(load_encoder(TINY, None), tmp_path / "clip")
    out = tmp_path / "run"
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(tmp_path / "clip"), "--out",
             str(out), "--model", "rde", "--context", "77", "--epochs", "2", "--batch-size", "8", "--sampler",
             "identity", "--instances", "2", "--trust", "similarity,loss", "--trust-least", "0", "--device",
             "cpu"]  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "ctgi", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    # What both find is told by the first alone.
    assert done.stderr.count("captions to be wary of: 1 with another script") == 1
    assert done.stdout.count("trust: similarity finds") == done.stdout.count("best epoch") == 1
    assert "Warning" not in done.stderr
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    best = max(records, key=lambda record: (record["metrics"]["R@1"], record["metrics"]["mAP"]))
    with safe_open(out / "best" / "model.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == str(best["epoch"])
    assert isinstance(load_checkpoint(out / "best"), RdeEncoder)
    assert not list(out.glob("*.pixels*"))
    with alone(out, "--out"):  # the first process has the lock of the run, the others go with it
        refused = subprocess.run(
            [*torchrun, "-m", "ctgi", *words], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert refused.returncode != 0
    assert refused.stderr.count("ctgi: ") == refused.stderr.count("another run is at work there") == 1
