"""The similarity signal of a training set under an encoder as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.dual import DualEncoder
from ctgi.training.config import TrainConfig
from ctgi.training.device import training_device
from ctgi.training.loader import load_pairs
from ctgi.training.pictures import Read
from ctgi.training.trust.join import Signal
from ctgi.training.trust.similarity import similarity_signal
from ctgi.training.validation import embed


def encoded_signal(
    config: TrainConfig,
    samples: Sequence[Sample],
    encoder: DualEncoder,
    spill: Path,
    read: Read = read_picture,
) -> Signal:
    """One pass of `encoder` over all pictures and captions; one probability a caption, in the samples' order.

    In a process group the pass is shared. `spill` is `load_pairs`'s: where it is the run's own, the run finds
    the pictures decoded.
    """
    device = training_device(config)
    pairs = load_pairs(samples, encoder.context, config.cache_gb, spill, read=read)
    texts, pictures = embed(encoder.to(device), pairs, device)
    return similarity_signal(texts, pictures, pairs.picture.numpy(), pairs.owner.numpy(), config.seed)
