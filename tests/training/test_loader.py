from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.pixels import normalised, resized
from ctgi.encoders.tokens import END, tokenize
from ctgi.errors import CtgiError
from ctgi.training.loader import Batch, Pairs, batches, load_pairs, step_count

Samples = tuple[Sample, ...]
CPU = torch.device("cpu")


@pytest.fixture
def pairs(samples: tuple[Samples, Samples], tmp_path: Path) -> Pairs:
    return load_pairs(samples[0], 77, 1.0, tmp_path / "spill")


def run(pairs: Pairs, epoch: int = 0, first: int = 0, augment: bool = True, size: int = 5) -> list[Batch]:
    return list(batches(pairs, seed=3, epoch=epoch, first=first, size=size, augment=augment, device=CPU))


def test_every_caption_is_a_pair_with_its_picture_and_person(
    samples: tuple[Samples, Samples], pairs: Pairs
) -> None:
    expected = [(row, s.identity, text) for row, s in enumerate(samples[0]) for text in s.captions]
    assert len(pairs) == len(expected) > len(samples[0])
    for n, (row, identity, text) in enumerate(expected):
        assert (int(pairs.picture[n]), int(pairs.identity[n])) == (row, identity)
        assert torch.equal(pairs.ids[n, : pairs.length[n]], tokenize([text], 77)[0])
    np.testing.assert_array_equal(pairs.pixels[3], resized(read_picture(samples[0][3].picture)))


def test_an_epoch_is_every_pair_once_in_an_order_of_its_own(pairs: Pairs) -> None:
    first, second = (torch.cat([b.pair for b in run(pairs, epoch)]) for epoch in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(pairs)))
    assert not torch.equal(first, second)
    assert len(run(pairs)) == step_count(len(pairs), 5) and len(run(pairs)[-1].pair) == len(pairs) % 5


def test_a_batch_is_cut_to_its_longest_caption(pairs: Pairs) -> None:
    widths = set()
    for batch in run(pairs, size=2):
        widths.add(batch.ids.shape[1])
        assert bool((batch.ids[:, -1] == END).any())
        assert torch.equal(batch.identity, pairs.identity[batch.pair])
    assert len(widths) > 1


def test_a_batch_depends_on_seed_epoch_and_step_alone(pairs: Pairs) -> None:
    whole, tail = run(pairs, epoch=4), run(pairs, epoch=4, first=2)
    assert len(tail) == len(whole) - 2
    for a, b in zip(whole[2:], tail, strict=True):
        assert torch.equal(a.pixels, b.pixels) and torch.equal(a.ids, b.ids) and torch.equal(a.pair, b.pair)
    assert not torch.equal(run(pairs, epoch=4)[0].pixels, run(pairs, epoch=5)[0].pixels)


def test_without_augmentation_the_pictures_are_what_search_sees(pairs: Pairs) -> None:
    batch = run(pairs, augment=False)[0]
    expected = normalised(pairs.pixels[pairs.picture[batch.pair].numpy()])
    np.testing.assert_allclose(batch.pixels.numpy(), expected, rtol=0, atol=1e-6)


def test_pictures_beyond_the_memory_allowed_come_from_a_file(
    samples: tuple[Samples, Samples], pairs: Pairs, tmp_path: Path
) -> None:
    spilled = load_pairs(samples[0], 77, 0.0, tmp_path / "deep" / "spill")
    assert (tmp_path / "deep" / "spill").stat().st_size == pairs.pixels.nbytes
    for a, b in zip(run(pairs), run(spilled), strict=True):
        assert torch.equal(a.pixels, b.pixels)


def test_an_exclamation_mark_is_part_of_a_caption(tmp_path: Path, samples: tuple[Samples, Samples]) -> None:
    picture = samples[0][0].picture
    shouted = load_pairs([Sample(picture, 0, ("!!a",)), Sample(picture, 1, ("a",))], 77, 1.0, tmp_path / "s")
    assert int(shouted.length[0]) == len(tokenize(["!!a"], 77)[0])


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, samples: tuple[Samples, Samples]) -> None:
    picture = samples[0][0].picture
    with pytest.raises(CtgiError, match="caption set is empty"):
        load_pairs([], 77, 1.0, tmp_path / "s")
    with pytest.raises(CtgiError, match="00.png: has no caption or a blank one"):
        load_pairs([Sample(picture, 0, (" ",))], 77, 1.0, tmp_path / "s")
    with pytest.raises(CtgiError, match="00.png: has no caption"):
        load_pairs([Sample(picture, 0, ())], 77, 1.0, tmp_path / "s")
    whole = picture.read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: whole.index(b"IDAT") + 10])
    with pytest.raises(CtgiError, match="bad.png: damaged picture"):
        load_pairs([Sample(tmp_path / "bad.png", 0, ("a",))], 77, 1.0, tmp_path / "s")
