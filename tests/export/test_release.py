from __future__ import annotations

import json
import os
import shutil

import numpy as np
import onnx
import pytest
import torch

from ctgi.errors import CtgiError
from ctgi.export import parity
from ctgi.export.parity import check_parity, rank_agreement
from ctgi.export.publish import export_release
from ctgi.export.release import FILES, Release, fingerprint, record_mti

SIZE = (384, 128)


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "copy")


def test_what_a_release_holds(exported, encoder):
    folder, lines = exported
    assert sorted(os.listdir(folder)) == sorted([*FILES, "release.json"])
    release = Release.load(folder)
    assert (release.name, release.version, release.embedding_dim, release.context) == ("tiny", "3", 24, 248)
    assert release.metrics["R@1"] == 12.5 and release.lineage == {"data": "none"} and release.mti == {}
    assert release.fingerprint == fingerprint(folder) and len(release.fingerprint) == 64
    assert release.sizes["tokenizer.json"] == (folder / "tokenizer.json").stat().st_size
    assert len(lines) == 1 and "largest error" in lines[0] and "rank agreement 100.0 %" in lines[0]
    assert encoder.training and all(parameter.requires_grad for parameter in encoder.parameters())


def test_axes_are_named_and_free_and_no_path_leaks(exported):
    for name, entry, axes in (
        ("text_encoder", "ids", ["batch", "length"]),
        ("image_encoder", "pixels", ["batch"]),
    ):
        path = exported[0] / f"{name}.onnx"
        graph = onnx.load(path).graph
        [given], [out] = graph.input, graph.output
        dims = given.type.tensor_type.shape.dim
        assert given.name == entry and [dim.dim_param for dim in dims if dim.dim_param] == axes
        assert out.name == "embedding" and out.type.tensor_type.shape.dim[1].dim_value == 24
        assert b"site-packages" not in path.read_bytes() and b".py" not in path.read_bytes()


def test_a_changed_file_is_noticed(copied):
    spec = (copied / "preprocess.json").read_text()
    (copied / "preprocess.json").write_text(spec.replace("0.48", "0.49"))
    with pytest.raises(CtgiError, match="changed or damaged"):
        Release.load(copied)
    assert Release.load(copied, verify=False).name == "tiny"
    (copied / "tokenizer.json").unlink()
    with pytest.raises(CtgiError, match="tokenizer.json: cannot be read"):
        Release.load(copied)
    (copied / "release.json").write_text("[]")
    with pytest.raises(CtgiError, match="cannot be read as a release"):
        Release.load(copied)
    with pytest.raises(CtgiError, match="no release there"):
        Release.load(copied / "nowhere")


def test_names_and_lengths_are_part_of_the_fingerprint(copied):
    before = fingerprint(copied)
    first, second = copied / FILES[0], copied / FILES[1]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two), second.write_bytes(one)
    assert fingerprint(copied) != before
    first.write_bytes(one + two[:1]), second.write_bytes(two[1:])
    assert fingerprint(copied) != before


def test_calibration_may_follow_later(copied):
    before = Release.load(copied)
    after = record_mti(copied, {"threshold": 0.41})
    assert Release.load(copied) == after and after.mti == {"threshold": 0.41}
    assert after.fingerprint == before.fingerprint and after.metrics == before.metrics


def test_a_release_is_not_overwritten_unasked(exported, encoder):
    before = Release.load(exported[0])
    with pytest.raises(CtgiError, match="exists already"):
        export_release(
            encoder,
            exported[0],
            name="other",
            preprocess={
                "height": 384,
                "width": 128,
                "resample": "bilinear",
                "mean": [0, 0, 0],
                "std": [1, 1, 1],
            },
        )
    assert Release.load(exported[0]) == before


def test_what_is_not_of_a_release_is_not_replaced_by_one(copied, encoder, tmp_path):
    from ctgi.encoders.pixels import preprocess_spec

    precious = tmp_path / "precious"
    precious.mkdir()
    for out in (precious, copied):
        (out / "thesis.txt").write_text("mine")
        with pytest.raises(CtgiError, match=r"cannot be replaced: 'thesis.txt' in it is not of a release"):
            export_release(encoder, out, name="new", preprocess=preprocess_spec(), replace=True)
        assert (out / "thesis.txt").read_text() == "mine"
    (copied / "thesis.txt").unlink()

    def late(_):
        (copied / "thesis.txt").write_text("while the models were compared")

    with pytest.raises(CtgiError, match="cannot be replaced"):
        export_release(encoder, copied, name="new", preprocess=preprocess_spec(), replace=True, report=late)
    (copied / "thesis.txt").unlink()
    export_release(encoder, copied, name="new", preprocess=preprocess_spec(), replace=True)
    assert Release.load(copied).name == "new"


@pytest.mark.parametrize(
    "field, value",
    [
        ("name", 3),
        ("version", 1),
        ("fingerprint", 5),
        ("embedding_dim", "512"),
        ("embedding_dim", True),
        ("context", "x"),
        ("context", 0),
        ("mti", "x"),
        ("metrics", []),
        ("lineage", None),
        ("sizes", 1),
        ("created", 2026),
    ],
)
def test_a_field_of_the_wrong_kind_is_said(copied, field, value):
    path = copied / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(CtgiError, match=rf"cannot be read as a release \({field}: "):
        Release.load(copied, verify=False)


def test_parity_fails_where_the_weights_differ(exported, encoder):
    other = parity_copy(encoder)
    with torch.no_grad():
        other.clip.text_projection.add_(0.01 * torch.randn(other.clip.text_projection.shape))
    with pytest.raises(CtgiError, match="the export differs from the model"):
        check_parity(other, exported[0], size=SIZE, batches=(2,), lengths=(5,), report=lambda line: None)


def test_parity_fails_where_a_shape_does_not_run(exported, encoder, copied):
    (copied / "text_encoder.onnx").write_bytes((copied / "image_encoder.onnx").read_bytes())
    with pytest.raises(CtgiError, match="does not run on an input of shape"):
        check_parity(
            parity_copy(encoder), copied, size=SIZE, batches=(2,), lengths=(5,), report=lambda line: None
        )
    (copied / "text_encoder.onnx").write_bytes(b"damaged")
    with pytest.raises(CtgiError, match="cannot load the export"):
        check_parity(parity_copy(encoder), copied, size=SIZE, report=lambda line: None)


def parity_copy(encoder):
    from ctgi.export.onnx_files import frozen

    return frozen(encoder)


def test_the_grid_covers_short_and_longest_texts():
    assert {2, 77, 248} <= set(parity.LENGTHS) and {1, 2} <= set(parity.BATCHES)


def test_rank_agreement_forgives_ties_only():
    ours = np.array([[0.9, 0.5, 0.5001, 0.1], [0.9, 0.8, 0.2, 0.1]])
    same = np.array([[0.9, 0.5001, 0.5, 0.1], [0.9, 0.8, 0.2, 0.1]])
    swapped = np.array([[0.9, 0.5, 0.5001, 0.1], [0.8, 0.9, 0.2, 0.1]])
    assert rank_agreement(ours, same, 1e-3) == 1 and rank_agreement(ours, same, 1e-5) == 0.5
    assert rank_agreement(ours, swapped, 1e-3) == 0.5
