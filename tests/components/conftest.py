"""A few small pictures, and the S3 server of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.components.story import World, told_in_peace
from tests.pipelines.conftest import clip, dataset
from tests.storage.seaweed import s3_server

__all__ = ["clip", "dataset", "pictures", "s3_server", "world"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, dataset: Path, clip: Path) -> Iterator[World]:
    """All steps, each run once in peace."""
    with told_in_peace(tmp_path_factory.mktemp("story"), dataset, clip) as world:
        yield world


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five pictures, one of them twice, and a hidden file."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        pixels = rng.integers(0, 255, (24, 8, 3), dtype=np.uint8)
        place = folder / "deep" if number % 2 else folder
        Image.fromarray(pixels).resize((32, 96)).save(place / f"{number}.png")
    (folder / "again.png").write_bytes((folder / "0.png").read_bytes())
    (folder / ".hidden").write_text("no picture", encoding="utf-8")
    return folder
