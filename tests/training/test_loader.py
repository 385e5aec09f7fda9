from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.encoders.pixels import normalised, resized
from ctgi.encoders.tokens import END, tokenize
from ctgi.errors import CtgiError
from ctgi.training import loader
from ctgi.training.config import TrainConfig
from ctgi.training.loader import Batch, Loader, Pairs, load_pairs
from ctgi.training.pictures import Kept, Streamed, clear, open_pictures
from ctgi.training.samplers import epoch_batches

Samples = tuple[Sample, ...]
CPU = torch.device("cpu")


@pytest.fixture
def pairs(samples: tuple[Samples, Samples], tmp_path: Path) -> Pairs:
    return load_pairs(samples[0], 77, 1.0, tmp_path / "spill")


def run(pairs: Pairs, epoch: int = 0, first: int = 0, augment: bool = True, size: int = 5) -> list[Batch]:
    batches = epoch_batches(TrainConfig(batch_size=size, seed=3), pairs, epoch)
    return list(Loader(pairs, batches, seed=3, epoch=epoch, first=first, augment=augment, device=CPU))


def test_every_caption_is_a_pair_with_its_picture_and_person(
    samples: tuple[Samples, Samples], pairs: Pairs
) -> None:
    expected = [(row, s.identity, text) for row, s in enumerate(samples[0]) for text in s.captions]
    assert len(pairs) == len(expected) > len(samples[0])
    for n, (row, identity, text) in enumerate(expected):
        assert (int(pairs.picture[n]), int(pairs.identity[n])) == (row, identity)
        assert torch.equal(pairs.tokens(torch.tensor([n]))[0], tokenize([text], 77)[0])
    [pixels] = pairs.pictures.rows(np.array([3]))
    np.testing.assert_array_equal(pixels, resized(read_picture(samples[0][3].picture)))


def test_an_epoch_is_every_pair_once_in_an_order_of_its_own(pairs: Pairs) -> None:
    first, second = (torch.cat([b.pair for b in run(pairs, epoch)]) for epoch in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(pairs)))
    assert not torch.equal(first, second)
    assert len(run(pairs)) == -(-len(pairs) // 5) and len(run(pairs)[-1].pair) == len(pairs) % 5


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


def test_processes_together_see_what_one_would(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(pairs, size=6)
    monkeypatch.setattr(loader, "world", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(loader, "rank", lambda rank=rank: rank)
        shares.append(run(pairs, size=6))
    for step, batch in enumerate(whole):
        own = [share[step] for share in shares]
        for field in dataclasses.fields(Batch):
            expected = getattr(batch, field.name)
            got = [getattr(each, field.name) for each in own]
            if len(batch.pair) < 3:  # too few to go round: everybody has them all
                assert all(torch.equal(each, expected) for each in got)
            else:
                assert torch.equal(torch.cat(got), expected)
    assert [len(batch.pair) for batch in whole] == [6, 6, 6, 6, 6, 2]


def test_without_augmentation_the_pictures_are_what_search_sees(pairs: Pairs) -> None:
    batch = run(pairs, augment=False)[0]
    expected = normalised(pairs.pictures.rows(pairs.picture[batch.pair].numpy()))
    np.testing.assert_allclose(batch.pixels.numpy(), expected, rtol=0, atol=1e-6)


def test_pictures_beyond_the_memory_allowed_come_from_a_file(
    samples: tuple[Samples, Samples], pairs: Pairs, tmp_path: Path
) -> None:
    spill = tmp_path / "deep" / "train"
    spilled = load_pairs(samples[0], 77, 0.0, spill)
    [file] = spill.parent.iterdir()
    assert file.stat().st_size == 24 * 3 * 384 * 128
    for a, b in zip(run(pairs), run(spilled), strict=True):
        assert torch.equal(a.pixels, b.pixels)


def test_a_mapped_file_is_used_again_until_a_picture_changes(
    samples: tuple[Samples, Samples], tmp_path: Path
) -> None:
    opened: list[Path] = []

    def read(path: Path) -> Image.Image:
        opened.append(path)
        return read_picture(path)

    def rows() -> np.ndarray:
        pictures = open_pictures(samples[1], 0.0, tmp_path / "run" / "val", read)
        assert isinstance(pictures, Kept)
        return pictures.rows(np.arange(8))

    first = rows()
    assert len(opened) == 8
    np.testing.assert_array_equal(rows(), first)
    assert len(opened) == 8
    Image.new("RGB", (9, 9), "white").save(samples[1][0].picture)
    assert (rows()[0] == 255).all() and len(opened) == 16
    assert len(list((tmp_path / "run").iterdir())) == 1  # the file of the old pictures is gone
    clear(tmp_path / "run" / "val")
    assert not list((tmp_path / "run").iterdir())


def test_pictures_are_streamed_where_the_disk_is_too_small(
    samples: tuple[Samples, Samples], pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    streamed = load_pairs(samples[0], 77, 0.0, tmp_path / "train")
    assert isinstance(streamed.pictures, Streamed) and len(streamed.pictures) == 24
    for a, b in zip(run(pairs), run(streamed), strict=True):
        assert torch.equal(a.pixels, b.pixels)
    samples[0][5].picture.write_text("no picture")
    with pytest.raises(CtgiError, match="05.png|not a picture"):
        run(streamed)


def test_trust_becomes_the_weight_of_its_pair(samples: tuple[Samples, Samples], tmp_path: Path) -> None:
    trust = [n / 100 for n in range(32)]
    pairs = load_pairs(samples[0], 77, 1.0, tmp_path / "s", trust=trust)
    for batch in run(pairs):
        assert batch.weight.tolist() == pytest.approx([trust[n] for n in batch.pair.tolist()])
    assert all((batch.weight == 1).all() for batch in run(load_pairs(samples[0], 77, 1.0, tmp_path / "s")))


def test_an_epoch_that_is_left_early_leaves_no_thread(pairs: Pairs) -> None:
    before = threading.active_count()
    batches = epoch_batches(TrainConfig(batch_size=5, seed=3), pairs, 0)
    for _ in Loader(pairs, batches, seed=3, epoch=0, first=0, augment=True, device=CPU):
        break
    assert threading.active_count() == before


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
