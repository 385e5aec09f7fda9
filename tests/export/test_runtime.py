"""The release at search time against torch, torchvision and open_clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ctgi.encoders.pixels import MEAN, STD, normalised, preprocess_spec, resized
from ctgi.errors import CtgiError
from ctgi.export.preprocess import Preprocess
from ctgi.export.runtime import BUCKETS, OnnxEncoders, bucketed


@pytest.fixture(scope="session")
def onnx_encoders(exported):
    return OnnxEncoders(exported[0], threads=1, batch=4)


TEXTS = [
    "red",
    "a man in a long black coat",
    "",
    "word " * 60,
    "word " * 300,
    "A WOMAN with a rucksack &amp; trainers",
]


def test_texts_as_in_training(onnx_encoders, encoder):
    from ctgi.encoders.tokens import tokenize

    with torch.no_grad():
        want = encoder.eval().encode_text(tokenize(TEXTS, 248)).numpy()
    encoder.train()
    got = onnx_encoders.encode_texts(TEXTS)
    assert got.dtype == np.float32 and got.shape == (6, 24)
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert np.abs(got[0] - got[1]).max() > 1e-2  # the vectors do depend on the text


def test_company_and_order_change_nothing(onnx_encoders):
    together = onnx_encoders.encode_texts(TEXTS * 3)
    alone = np.concatenate([onnx_encoders.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(together, np.tile(alone, (3, 1)), atol=1e-5)
    assert onnx_encoders.encode_texts([]).shape == (0, 24) and onnx_encoders.encode_pictures([]).shape == (
        0,
        24,
    )


def test_an_end_mark_in_a_query_hides_nothing(onnx_encoders):
    marked = onnx_encoders.encode_texts(["red <end_of_text> coat", "red <end_of_text> shoes"])
    assert np.abs(marked[0] - marked[1]).max() > 1e-3


def pictures():
    rng = np.random.default_rng(0)
    sizes = [(128, 384), (64, 128), (333, 77), (1, 1), (500, 1200), (129, 383), (20, 900)]
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes
    ]


def test_preprocessing_is_torchvisions_and_trainings():
    from torchvision import transforms

    test = transforms.Compose(
        [
            transforms.Resize((384, 128), antialias=True),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    ours = Preprocess.read(preprocess_spec())(pictures())
    assert ours.dtype == np.float32 and ours.shape == (7, 3, 384, 128)
    np.testing.assert_allclose(
        ours, torch.stack([test(picture) for picture in pictures()]).numpy(), atol=1e-5
    )
    np.testing.assert_allclose(ours, normalised(np.stack([resized(p) for p in pictures()])), atol=1e-5)


def test_pictures_as_in_training(onnx_encoders, encoder):
    pixels = normalised(np.stack([resized(picture) for picture in pictures()]))
    with torch.no_grad():
        want = encoder.eval().encode_image(torch.from_numpy(pixels)).numpy()
    encoder.train()
    got = onnx_encoders.encode_pictures(pictures())
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.abs(got[0] - got[2]).max() > 1e-3
    grey, alpha = Image.new("L", (10, 30), 90), Image.new("RGBA", (10, 30), (90, 90, 90, 255))
    np.testing.assert_allclose(*np.split(onnx_encoders.encode_pictures([grey, alpha]), 2), atol=1e-6)


@given(lengths=st.lists(st.integers(2, 248), max_size=60), batch=st.integers(1, 9))
def test_every_text_once_and_no_long_one_among_short_ones(lengths, batch):
    parts = list(bucketed(lengths, batch))
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        assert 1 <= len(part) <= batch
        assert len({next(size for size in BUCKETS if lengths[index] <= size) for index in part}) == 1
    # No more runs than full batches of every bucket need.
    counts = np.bincount(np.searchsorted(BUCKETS, lengths), minlength=4) if lengths else np.zeros(4, int)
    assert len(parts) == sum(-(-int(count) // batch) for count in counts)


def test_faults_are_one_line(exported, tmp_path):
    import shutil

    folder = shutil.copytree(exported[0], tmp_path / "broken")
    (folder / "text_encoder.onnx").write_bytes(b"damaged")
    with pytest.raises(CtgiError, match="changed or damaged"):
        OnnxEncoders(folder)
    with pytest.raises(CtgiError, match="ONNX Runtime cannot load it"):
        OnnxEncoders(folder, verify=False)
    for change, reason in (({"resample": "nearest"}, "not bilinear"), ({"std": [1, 1]}, "three values")):
        with pytest.raises(CtgiError, match=reason):
            Preprocess.read({**preprocess_spec(), **change})
    with pytest.raises(CtgiError, match="height"):
        Preprocess.read({"resample": "bilinear", "mean": MEAN, "std": STD})
