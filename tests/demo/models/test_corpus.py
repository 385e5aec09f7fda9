"""The corpus: labels that can be read back, chunks that depend on their number only, patches that add up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from demo.models import corpus
from demo.models.attribute_heads import CLASSES, SHOWS_ON, AttributeHeads, image_loss, patch_loss
from demo.models.corpus import decode, encode, read, render_chunk
from demo.models.fixed_grid import patchify
from demo.models.prepared import Prepared, coverage_of, prepare
from demo.models.train_vision import mirror_order
from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.parts import PARTS
from demo.pedestrians.visibility import CANNOT_TELL

truths = st.fixed_dictionaries(
    {name: st.sampled_from([*values, CANNOT_TELL, None]) for name, values in ATTRIBUTES.items()}
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 4)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpus, "CHUNK", 4)
        for number in range(2):
            corpus._write((folder, 5, number))
    return folder


@pytest.fixture
def folder(rendered: Path, tmp_path: Path) -> Path:
    """A corpus of two chunks, for one test alone."""
    return Path(shutil.copytree(rendered, tmp_path / "corpus"))


@given(truths)
def test_labels_are_read_back(visible: dict[str, str | None]) -> None:
    row = np.array(encode(visible), np.int8)
    assert decode(row) == visible
    assert all(-1 <= label < count for label, count in zip(row, CLASSES, strict=True))


def test_a_chunk_depends_on_seed_and_number_only() -> None:
    one, again = render_chunk(5, 1), render_chunk(5, 1)
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(again)[name])
    assert one.pictures.shape == (4, 384, 128, 3) and one.labels.shape == (4, len(ATTRIBUTES))
    assert one.identities.tolist() == [4, 4, 5, 5]  # two views each
    for other in (render_chunk(5, 2), render_chunk(6, 1)):
        assert (other.pictures != one.pictures).mean() > 0.5


def test_written_chunks_are_kept_and_half_written_ones_are_not_read(folder: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("chunk-????.npz")}
    (folder / "chunk-0002.123.tmp.npz").write_bytes(b"half")
    for number in range(2):
        corpus._write((folder, 5, number))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    chunks = list(read(folder))
    assert len(chunks) == 2
    np.testing.assert_array_equal(chunks[1].pictures, render_chunk(5, 1).pictures)
    assert [len(list(read(folder, first, last))) for first, last in ((0, 1), (1, None), (2, 5))] == [1, 1, 0]


def test_prepared_pictures_belong_to_their_labels(folder: Path) -> None:
    data = Prepared(folder)
    assert len(data) == 8
    whole = list(read(folder))
    np.testing.assert_array_equal(data.labels(), np.concatenate([chunk.labels for chunk in whole]))
    pixels, labels, coverage = data.take(torch.tensor([5, 0]))
    assert pixels.shape == (2, 252, 84, 3) and coverage.shape == (2, 108, len(PARTS))
    np.testing.assert_array_equal(labels[0].numpy(), whole[1].labels[1])
    torch.testing.assert_close(coverage.sum(2), torch.ones(2, 108))  # a pixel has exactly one part
    # What is kept beside the chunk is what would be made anew.
    again = prepare(folder / "chunk-0001.npz")
    np.testing.assert_array_equal(pixels[0].numpy(), again[0][1])


def test_prepared_takes_in_chunks_rendered_meanwhile(folder: Path) -> None:
    data = Prepared(folder)
    corpus._write((folder, 5, 2))
    data.refresh()
    assert len(data) == 12
    with pytest.raises(SystemExit, match="no chunks; render them first"):
        Prepared(folder / "nothing")


def test_coverage_lies_in_the_order_of_the_patches() -> None:
    """A part painted into one patch of the picture covers that patch of `patchify`, and no other."""
    for row, column in ((0, 0), (3, 5), (17, 2)):
        parts = np.zeros((252, 84), np.uint8)
        parts[row * 14 : row * 14 + 14, column * 14 : column * 14 + 14] = 4
        coverage = coverage_of(parts)
        pictures = [np.repeat(values[None, ..., None], 3, 3) for values in (parts, 0 * parts)]
        painted, blank = (patchify(torch.from_numpy(picture))[0] for picture in pictures)
        marked = (painted != blank).any(1)
        np.testing.assert_array_equal(coverage[:, 4] == 196, marked.numpy())
        assert coverage[:, 4].sum() == 196


def test_mirrored_patches_are_the_patches_of_the_mirrored_picture() -> None:
    parts = np.random.default_rng(0).integers(0, len(PARTS), (252, 84), np.uint8)
    mirrored = coverage_of(np.ascontiguousarray(parts[:, ::-1]))
    np.testing.assert_array_equal(mirrored, coverage_of(parts)[mirror_order().numpy()])


def test_losses_against_plain_loops() -> None:
    torch.manual_seed(2)
    names = list(ATTRIBUTES)
    heads = AttributeHeads(8, 6, 27)
    labels = torch.stack([torch.randint(-1, count, (3,)) for count in CLASSES], 1)
    image = [row.double() for row in heads.image_logits(torch.randn(3, 27, 8))]
    terms = []
    for index, logits in enumerate(image):
        rows = [row for row in range(3) if labels[row, index] != -1]
        losses = [-logits[row].log_softmax(0)[labels[row, index]] for row in rows]
        terms += [sum(losses) / len(losses)] if losses else []
    torch.testing.assert_close(image_loss(image, labels), sum(terms) / len(terms))

    coverage = torch.rand(3, 5, len(PARTS)).double() / 4
    logits = heads.patch(torch.randn(3, 5, 6)).double()
    split = logits.split([*CLASSES, len(PARTS)], -1)
    p = split[-1].sigmoid()
    terms = [-(coverage * p.log() + (1 - coverage) * (1 - p).log()).mean() * 8]
    for index, name in enumerate(names):
        losses = []
        for row in range(3):
            label = int(labels[row, index])
            for patch in range(5):
                shown = sum(float(coverage[row, patch, PARTS.index(part)]) for part in SHOWS_ON[name])
                if SHOWS_ON[name] and shown > 0.12 and 0 <= label < len(ATTRIBUTES[name]):
                    losses.append(-split[index][row, patch].log_softmax(0)[label])
        terms += [sum(losses) / len(losses)] if losses else []
    torch.testing.assert_close(patch_loss(logits, labels, coverage), sum(terms) / len(terms))
