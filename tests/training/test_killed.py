"""SIGKILL, as a spot machine or an impatient person sends it, while a run works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ctgi.datasets.annotations import Sample

PROGRAM = """
import sys, torch
from pathlib import Path
from ctgi.datasets.annotations import Sample
from ctgi.encoders.loading import load_encoder
from ctgi.training.config import TrainConfig
from ctgi.training.engine import train
pictures, out = sorted(Path(sys.argv[1]).glob("*.png")), Path(sys.argv[2])
made = [Sample(path, n // 2, (f"person {n // 2} in colour {n // 8}",)) for n, path in enumerate(pictures)]
torch.set_num_threads(1)
torch.manual_seed(5)
encoder = load_encoder({
    "embed_dim": 16,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 32, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}, None)
config = TrainConfig(epochs=6, batch_size=3, base_lr=1e-3, adam_eps=1e-8, checkpoint_steps=1, device="cpu")
train(config, made[:24], made[24:], encoder, out, progress=False)
"""


def start(pictures: Path, out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(pictures), str(out)], env=environment)


def reached(path: Path) -> tuple[int, int]:
    """Epoch and step of the state in a checkpoint's header, through one open file.

    `read_state` opens the path twice, and the run that is being watched replaces the file at any moment.
    """
    if not path.exists():
        return -1, -1
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    state = json.loads(header["__metadata__"]["state"])
    return state["epoch"], state["step"]


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bits(
    samples: tuple[tuple[Sample, ...], tuple[Sample, ...]], tmp_path: Path
) -> None:
    pictures = samples[0][0].picture.parent
    assert start(pictures, tmp_path / "whole").wait() == 0
    kills, last = 0, tmp_path / "cut" / "last.safetensors"
    for target in [(0, 2), (1, 1), (4, 3)]:
        process = start(pictures, tmp_path / "cut")
        while process.poll() is None:
            if reached(last) >= target:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    assert start(pictures, tmp_path / "cut").wait() == 0
    for file in ("last.safetensors", "best/model.safetensors"):
        whole, cut = load_file(tmp_path / "whole" / file), load_file(tmp_path / "cut" / file)
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[name], cut[name]) for name in whole), file
