"""Which pairs make which batch of an epoch: a function of (seed, epoch) and nothing else.

Every process computes the same list and takes its share, so that the run on one GPU and the run on eight see
the same batches, and a resumed run needs no stored sampler state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig

if TYPE_CHECKING:
    from ctgi.training.loader import Pairs

Indices = NDArray[np.int64]


def epoch_batches(config: TrainConfig, pairs: Pairs, epoch: int) -> list[Indices]:
    """The batches of an epoch, int64 (batch,) numbers of pairs each, as many in every epoch.

    Raises CtgiError when the sampler that was chosen does not fit the set.
    """
    # Always three numbers: numpy fills a shorter seed up with zeros, so [s, e] would equal [s, e, 0].
    chance = np.random.default_rng([config.seed, epoch, 0])
    if config.sampler == "identity":
        identity = pairs.identity.numpy()
        return identity_batches(identity, config.batch_size, config.instances, chance)
    if config.shard_window:
        shard = pairs.shard[pairs.picture.numpy()]
        return windowed_batches(shard, config.batch_size, config.shard_window, chance)
    return plain_batches(len(pairs), config.batch_size, chance)


def plain_batches(count: int, size: int, chance: np.random.Generator) -> list[Indices]:
    """Every pair once in a random order, as published; the last batch as small as it comes."""
    order = chance.permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def windowed_batches(shard: Indices, size: int, window: int, chance: np.random.Generator) -> list[Indices]:
    """Every pair once, shuffled within `window` shards at a time: reading stays near in few large files.

    `shard` int64 (N,): the shard that each pair's picture lies in.
    """
    shards = chance.permutation(np.unique(shard))
    place = np.empty(shard.max() + 1, np.int64)
    place[shards] = np.arange(len(shards)) // window
    order = np.lexsort((chance.random(len(shard)), place[shard]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def identity_batches(
    identity: Indices, size: int, instances: int, chance: np.random.Generator
) -> list[Indices]:
    """Batches of size / instances different people with `instances` pairs each, a person's pairs together.

    `identity` int64 (N,). A person's pairs are shuffled and cut into groups; a last, incomplete group is
    filled up from the same person's other pairs (repeated where there are too few). Groups are dealt to
    batches so that no batch has a person twice. The number of batches is the largest for which that is
    possible, the same in every epoch; the few groups that are over sit the epoch out.

    The sampler of person re-identification (P x K), which IRRA's code offers and its published runs do not
    use. There, incomplete groups are left out and the number of batches changes from epoch to epoch.

    Raises CtgiError when there are fewer people than a batch holds.
    """
    people = size // instances
    order = np.argsort(identity, kind="stable")
    _, first, counts = np.unique(identity[order], return_index=True, return_counts=True)
    groups = -(-counts // instances)
    steps = int(groups.sum()) // people
    while np.minimum(groups, steps).sum() < people * steps:
        steps -= 1
    if steps == 0:
        raise CtgiError(
            f"the identity sampler wants {people} people in a batch and the set has {len(counts)}; "
            "make batch_size smaller or instances larger"
        )
    dealt = []
    for person in chance.permutation(len(counts)):
        own = chance.permutation(order[first[person] : first[person] + counts[person]])
        filled = np.resize(own, groups[person] * instances)  # what is missing repeats from the front
        dealt.append(filled.reshape(-1, instances)[:steps])
    # A person's groups, at most `steps`, go to batches one after another: never two to the same.
    cards = np.concatenate(dealt)
    return [cards[step::steps][:people].reshape(-1) for step in range(steps)]


def share(batch: Indices, rank: int, world: int) -> slice:
    """The rows of a batch that are this process's: equal parts, so up to world - 1 rows at the end of an
    epoch's last batch are left out. A last batch of fewer rows than processes is everybody's, whole: each
    learns from it alone, and the mean of their equal gradients is that of one process."""
    if len(batch) < world:
        return slice(0, len(batch))
    part = len(batch) // world
    return slice(rank * part, (rank + 1) * part)
