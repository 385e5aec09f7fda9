from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from ctgi.encoders.dual import DualEncoder
from ctgi.encoders.loading import load_encoder
from ctgi.encoders.rde import RdeEncoder
from ctgi.encoders.tokens import tokenize
from ctgi.training.loader import Batch

DEGENERATE = {
    "one sample": ["a man"],
    "one empty sample": [""],
    "an empty caption": ["a man in a red jacket", "", "a woman with a bag"],
    "only empty captions": ["", "", ""],
    "literal marks": ["<end_of_text> a man <start_of_text>", "a man", "<end_of_text>"],
    "the word that is the mask": ["jekyll", "jekyll and hyde", "a man"],
    "exclamation marks": ["!", "! ! !", "a man!"],
    "longest": ["word " * 100, "a man"],
}


@pytest.fixture
def towers() -> Callable[..., DualEncoder]:
    """A tiny encoder, plain or RDE's, whose outputs differ visibly from text to text."""

    def make(rde: bool = False, of: str = "valid", seed: int = 0) -> DualEncoder:
        config: dict[str, Any] = {
            "embed_dim": 16,
            "vision_cfg": {
                "image_size": [384, 128],
                "patch_size": 64,
                "width": 32,
                "layers": 2,
                "head_width": 16,
            },
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
        }
        torch.manual_seed(seed)
        encoder = load_encoder(config, None)
        with torch.no_grad():
            encoder.clip.positional_embedding.mul_(30)
            encoder.clip.token_embedding.weight.mul_(30)
        return RdeEncoder.on_top_of(encoder, of) if rde else encoder

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Captions and their identities to a batch with random pictures, weights 1."""

    def make(captions: Sequence[str], identities: Sequence[int] | None = None, seed: int = 0) -> Batch:
        size = len(captions)
        chance = torch.Generator().manual_seed(seed)
        return Batch(
            pixels=torch.randn(size, 3, 384, 128, generator=chance),
            ids=tokenize(captions, 77),
            identity=torch.tensor(identities if identities is not None else range(size)),
            pair=torch.arange(size),
            weight=torch.ones(size),
        )

    return make


@pytest.fixture(params=DEGENERATE)
def degenerate(request: pytest.FixtureRequest) -> list[str]:
    """Captions that have broken such models."""
    return DEGENERATE[request.param]
