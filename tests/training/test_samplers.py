from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.training.samplers import identity_batches, plain_batches, share, windowed_batches


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, 0, 0])


def test_the_plain_order_is_the_permutation_of_its_seed() -> None:
    batches = plain_batches(10, 4, np.random.default_rng([3, 1, 0]))
    expected = np.random.default_rng([3, 1, 0]).permutation(10)
    assert [batch.tolist() for batch in batches] == [part.tolist() for part in np.split(expected, [4, 8])]


captions = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@settings(deadline=None)
@given(captions, st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_identity_batches(counts: list[int], people: int, instances: int, seed: int) -> None:
    identity = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    if len(counts) < people:
        with pytest.raises(CtgiError, match=f"wants {people} people"):
            identity_batches(identity, people * instances, instances, chance(seed))
        return
    batches = identity_batches(identity, people * instances, instances, chance(seed))
    seen: Counter[int] = Counter()
    for batch in batches:
        rows = identity[batch].reshape(people, instances)
        assert (rows == rows[:, :1]).all()  # a person's pairs are together
        assert len(set(rows[:, 0])) == people  # and nobody is there twice
        for group, person in zip(batch.reshape(people, instances), rows[:, 0], strict=True):
            own = int((identity == person).sum())
            assert len(set(group)) == min(own, instances)
        seen.update(set(batch.tolist()))
    # A pair is in no more than one group, or in two where it fills up its person's last one.
    assert max(seen.values()) <= 2
    # As many batches as can be: one more would want more groups of different people than there are.
    groups = -(-np.array(counts) // instances)
    more = len(batches) + 1
    assert np.minimum(groups, more).sum() < people * more
    again = identity_batches(identity, people * instances, instances, chance(seed))
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_identity_batches_differ_from_epoch_to_epoch_in_all_but_their_number() -> None:
    identity = np.repeat(np.arange(20), 3)
    a, b = (identity_batches(identity, 12, 4, chance(seed)) for seed in (1, 2))
    assert len(a) == len(b) == 20 // 3
    assert not np.array_equal(np.concatenate(a), np.concatenate(b))
    # Which people sit an epoch out is drawn as well.
    left_out = {
        tuple(set(range(20)) - set(identity[np.concatenate(identity_batches(identity, 12, 4, chance(s)))]))
        for s in range(8)
    }
    assert len(left_out) > 3


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_windowed_batches_read_few_shards_at_a_time(
    shard: list[int], size: int, window: int, seed: int
) -> None:
    shards = np.array(shard)
    order = np.concatenate(windowed_batches(shards, size, window, chance(seed)))
    assert sorted(order.tolist()) == list(range(len(shard)))
    # No shard is opened again after `window` others have been begun and left behind.
    met = shards[order].tolist()
    while met:
        group = set(dict.fromkeys(met)) if len(set(met)) <= window else set()
        for value in met if not group else ():
            if len(group | {value}) > window:
                break
            group.add(value)
        inside = [value for value in met if value in group]
        assert met[: len(inside)] == inside
        met = met[len(inside) :]


@given(st.integers(1, 8), st.integers(0, 70))
def test_shares_are_equal_and_together_the_batch_but_for_its_last_few(world: int, count: int) -> None:
    batch = np.arange(count)
    shares = [batch[share(batch, rank, world)] for rank in range(world)]
    assert len({len(part) for part in shares}) == 1
    if count < world:  # nobody's may be empty
        assert all(part.tolist() == batch.tolist() for part in shares)
    else:
        assert np.concatenate(shares).tolist() == list(range(count - count % world))
