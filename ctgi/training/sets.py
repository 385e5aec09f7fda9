"""What a run's data must be before any work is done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ctgi.datasets.annotations import Sample
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.distributed import world


def check_sets(samples: Sequence[Sample], val: Sequence[Sample], trust: Sequence[float] | None) -> None:
    """Raise CtgiError for sets that nothing can be learnt from, or that share a picture, and for a trust that
    is not one number from 0 a caption."""
    if not samples:
        raise CtgiError("the caption set is empty; caption some pictures first")
    if not val:
        raise CtgiError(
            "the validation set is empty; hold some training identities out for it, never the test set"
        )
    if len({sample.identity for sample in samples}) < 2:
        raise CtgiError("the caption set shows one identity only; a model can learn nothing from it")
    both = {sample.picture for sample in samples} & {sample.picture for sample in val}
    if both:
        raise CtgiError(f"{min(both)}: is in the caption set and in the validation set; keep it in one")
    if trust is None:
        return
    captions = sum(len(sample.captions) for sample in samples)
    if len(trust) != captions:
        raise CtgiError(f"trust has {len(trust)} numbers for {captions} captions; give one for each")
    bad = [x for x in trust if not (math.isfinite(x) and x >= 0)]
    if bad or not any(trust):
        raise CtgiError(f"trust {bad[0] if bad else 'of 0 everywhere'} cannot weight a loss; use 0 to 1")


def check_shares(config: TrainConfig, samples: Sequence[Sample]) -> None:
    """Raise CtgiError when the processes cannot have equal shares of a batch."""
    if config.batch_size % world():
        raise CtgiError(
            f"batch_size={config.batch_size} cannot be shared evenly by {world()} processes; "
            f"take {config.batch_size // world() * world() or world()}"
        )
    if sum(len(sample.captions) for sample in samples) < world():
        raise CtgiError(f"fewer captions than the {world()} processes; start fewer")


def numbered(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The same samples with identities 0 to n - 1 in their old order: classes for an ID loss."""
    number = {identity: n for n, identity in enumerate(sorted({s.identity for s in samples}))}
    return tuple(dataclasses.replace(s, identity=number[s.identity]) for s in samples)
