"""The whole loop by commands, with a tiny CLIP; indexing is killed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctgi.cli.main import main
from ctgi.export.lineage import chain, git_revision, read_lineage
from ctgi.gallery.index import Gallery

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": [384, 128], "layers": 1, "width": 32, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny_clip(tmp_path: Path) -> Path:
    import torch

    from ctgi.encoders.loading import load_encoder, save_checkpoint

    torch.manual_seed(0)
    save_checkpoint(load_encoder(TINY, None), tmp_path / "clip")
    return tmp_path / "clip"


@pytest.mark.slow
def test_the_loop(
    dataset: Path, tiny_clip: Path, tmp_path: Path, chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--server", chat.url, "--model", "m"]
    layout = ["--layout", "rstpreid"]
    captions, run, release = tmp_path / "captions", tmp_path / "run", tmp_path / "release"
    assert main(["caption", str(dataset), *layout, "--out", str(captions), "--rounds", "2", *model]) == 0

    figures = tmp_path / "figures.json"
    train = ["train", str(captions / "captions.parquet"), "--pictures", str(dataset / "imgs"),
             "--val", str(dataset), *layout, "--out", str(run), "--encoder", str(tiny_clip),
             "--epochs", "2", "--batch-size", "4", "--base-lr", "1e-3", "--adam-eps", "1e-8",
             "--no-augment", "--json", str(figures)]  # fmt: skip
    assert main(train) == 0
    trained = json.loads(figures.read_text(encoding="utf-8"))
    assert trained["pictures"] == 8 and len(trained["history"]) == 2 and "R@1" in trained["metrics"]

    export = ["export", str(run / "best"), "--out", str(release), "--calibrate", str(dataset), *layout,
              "--json", str(figures)]  # fmt: skip
    assert main(export) == 0
    exported = json.loads(figures.read_text(encoding="utf-8"))
    assert exported["release"]["context"] == 248 and exported["calibration"]["queries"] == 24
    assert "rank agreement 100.0 %" in capsys.readouterr().out

    _index_is_safe_to_kill(release, tmp_path)

    gallery = tmp_path / "gallery"
    assert main(["index", str(dataset / "imgs"), "--release", str(release), "--out", str(gallery)]) == 0
    _where_it_comes_from(captions, gallery, exported["release"]["fingerprint"])
    search = ["search", "green clothes", "--gallery", str(gallery), "--release", str(release), *model,
              "--json", str(figures)]  # fmt: skip
    assert main(search) == 0
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["anchor"] is None or "green" in found["paths"][found["anchor"]]

    by_model = {}
    for kind, folder in (("--release", release), ("--checkpoint", run / "best")):
        assert main(["evaluate", str(dataset), *layout, kind, str(folder), "--json", str(figures)]) == 0
        by_model[kind] = json.loads(figures.read_text(encoding="utf-8"))["plain"]
    assert by_model["--release"] == by_model["--checkpoint"]  # the same model, in ONNX and in torch


def _where_it_comes_from(captions: Path, gallery: Path, fingerprint: str) -> None:
    """Every command left a record beside what it made, and knows those of what it was made from."""
    record = read_lineage(gallery)
    one, release, checkpoint, interviews = (one for _, one in chain(record))
    assert [one["kind"], release["kind"], checkpoint["kind"]] == ["gallery", "release", "checkpoint"]
    assert one["inputs"]["release"]["digest"] == f"sha256:{fingerprint}"
    digest = hashlib.sha256((captions / "captions.parquet").read_bytes()).hexdigest()
    assert checkpoint["inputs"]["captions"] == {"name": "captions.parquet", "digest": f"sha256:{digest}"}
    assert checkpoint["seed"] == 1 and checkpoint["settings"]["batch_size"] == 4
    assert "R@1" in checkpoint["metrics"] and checkpoint["git"] == git_revision()
    assert interviews == {
        k: v for k, v in read_lineage(captions / "captions.parquet").items() if k in interviews
    }
    assert interviews["settings"] == {"model": "m"} and interviews["prompts"]["interview"]


def _index_is_safe_to_kill(release: Path, tmp_path: Path) -> None:
    """kill -9 while 1,200 pictures are being embedded; then again; the same gallery as without the kill."""
    many, rng = tmp_path / "many", np.random.default_rng(0)
    many.mkdir()
    for number in range(1200):
        pixels = rng.integers(0, 255, (24, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 96)).save(many / f"{number:04d}.png")

    def words(out: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "ctgi",
            "index",
            str(many),
            "--release",
            str(release),
            "--out",
            str(out),
        ]

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(words(killed), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if (killed / "manifest.json").exists() and len(Gallery.open(killed, None)) > 0:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(Gallery.open(killed, None))
    assert 0 < kept < 1200
    figures = tmp_path / "index.json"
    assert main(words(killed)[3:] + ["--json", str(figures)]) == 0
    report = json.loads(figures.read_text(encoding="utf-8"))
    assert (report["known"], report["embedded"]) == (kept, 1200 - kept)
    assert main(words(whole)[3:]) == 0
    ours, theirs = Gallery.open(killed, None), Gallery.open(whole, None)
    assert ours.ids == theirs.ids
    np.testing.assert_allclose(ours.vectors(ours.ids), theirs.vectors(theirs.ids), atol=1e-6)
