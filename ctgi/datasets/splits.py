"""A validation split for data sets that come without one (ICFG-PEDES, any pseudo-captioned folder)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ctgi.datasets.annotations import Sample
from ctgi.errors import CtgiError


def hold_out(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split `samples` into (train, val) by identity: nobody is in both. Deterministic by seed.

    `fraction` of the identities, at least one, goes to val. Training identities are renumbered 0..n-1 in
    their old order; val keeps its numbers.

    Raises CtgiError unless 0 < fraction < 1 and there are at least two identities.
    """
    if not 0 < fraction < 1:
        raise CtgiError(f"hold-out fraction {fraction} is not between 0 and 1; 0.1 is usual")
    identities = sorted({sample.identity for sample in samples})
    if len(identities) < 2:
        raise CtgiError(
            f"{len(identities)} identity cannot be split into train and val; at least 2 are needed"
        )
    count = min(len(identities) - 1, max(1, round(fraction * len(identities))))
    held = set(random.Random(seed).sample(identities, count))
    number = {identity: n for n, identity in enumerate(i for i in identities if i not in held)}
    train = tuple(
        Sample(sample.picture, number[sample.identity], sample.captions)
        for sample in samples
        if sample.identity not in held
    )
    return train, tuple(sample for sample in samples if sample.identity in held)
