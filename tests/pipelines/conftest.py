"""A small world for whole pipelines: pictures, a labelled set, a tiny CLIP, the S3 server of the session."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.storage.seaweed import s3_server

__all__ = ["s3_server"]

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": [384, 128], "layers": 1, "width": 32, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def picture(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy picture of one colour."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 20, (24, 8, 3)) + np.array(colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((32, 96)).save(path)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people in three splits of RSTPReid's layout, two pictures of each."""
    root, entries = tmp_path_factory.mktemp("data") / "set", []
    for person, split in enumerate(("train", "train", "val", "val", "test", "test")):
        for view in range(2):
            name = f"{person}_{view}.png"
            picture(root / "imgs" / name, (40 * person, 120, 250 - 40 * person), 10 * person + view)
            captions = [f"A person with number {person} and a bag."]
            entries.append({"id": person, "img_path": name, "captions": captions, "split": split})
    (root / "data_captions.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from ctgi.encoders.loading import load_encoder, save_checkpoint

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "clip"
    save_checkpoint(load_encoder(TINY, None), folder)
    return folder
