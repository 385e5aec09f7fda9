"""A very small Qwen2-VL with random weights, and a started server for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
TEXTS = [
    "You look at a picture of one person. Say only what can be seen.",
    "Does the person in the picture match this description? Answer yes or no.",
    "The person wears a red jacket and blue trousers. The person carries no bag.",
    "system user assistant yes no",
]


@pytest.fixture(scope="session")
def tokenizer():
    from demo.models.architecture import build_tokenizer

    return build_tokenizer(TEXTS * 3, 400)


@pytest.fixture(scope="session")
def model(tokenizer):
    import torch

    from demo.models.architecture import build_model

    torch.set_num_threads(1)
    model = build_model(
        len(tokenizer), seed=7, text_width=64, text_layers=2, text_heads=4, text_mlp=96,
        vision_width=32, vision_depth=2, vision_heads=2, context=512,
    )  # fmt: skip
    with torch.no_grad():
        # Freshly initialised weights make answers that hardly depend on the prompt; these make strong
        # opinions, and biases and norms that a forward pass must not forget.
        for weight in model.parameters():
            weight.mul_(5) if weight.ndim > 1 else weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


@pytest.fixture(scope="session")
def model_directory(model, tokenizer, tmp_path_factory) -> Path:
    from demo.models.architecture import save

    directory = tmp_path_factory.mktemp("weights") / "tiny"
    save(directory, model, tokenizer)
    return directory


@pytest.fixture(scope="session")
def picture() -> Callable[[int], Image.Image]:
    """Pictures of 384x128 by number, each unlike the others."""

    def draw(number: int) -> Image.Image:
        colours = np.random.default_rng(number).integers(0, 256, (6, 2, 3), dtype=np.uint8)
        return Image.fromarray(colours).resize((128, 384), Image.Resampling.NEAREST)

    return draw


@dataclass
class RunningServer:
    url: str
    first_line: str
    process: subprocess.Popen[str]

    def counted(self, name: str) -> float:
        import httpx

        lines = httpx.get(self.url.removesuffix("/v1") + "/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))


@pytest.fixture(scope="session")
def start(model_directory) -> Iterator[Callable[..., RunningServer]]:
    """Starts the server as its own process on a free port; all are ended after the tests."""
    started: list[subprocess.Popen[str]] = []

    def run(*flags: str) -> RunningServer:
        command = [sys.executable, "-m", "demo.models.server", "--model", str(model_directory), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [*command, *flags], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"at (http://\S+)$", line)
        assert match, f"the server did not start: {line!r}"
        return RunningServer(match[1], line, process)

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(start) -> RunningServer:
    return start()
