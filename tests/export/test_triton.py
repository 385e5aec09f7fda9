"""The Triton model repository: its text against the published schema's rules, and served by a real Triton."""

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest

from ctgi.errors import CtgiError
from ctgi.export.pbtxt import Word, pbtxt
from ctgi.export.release import Release
from ctgi.export.runtime import OnnxEncoders
from ctgi.export.triton import as_repository, write_model_repository
from ctgi.export.triton_config import TritonOptions
from ctgi.storage.fetch import fetch
from ctgi.storage.opening import open_store
from ctgi.storage.releases import publish
from tests.export.tritonserver import triton
from tests.storage.seaweed import ACCESS_KEY, SECRET_KEY, s3_server

__all__ = ["s3_server"]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_a_repository_holds(exported, tmp_path):
    out = tmp_path / "models"
    write_model_repository(exported[0], out, 7)
    configs = ["config.pbtxt", "configs/cpu.pbtxt", "configs/cuda.pbtxt", "configs/tensorrt.pbtxt"]
    assert files(out) == sorted(
        [f"{name}/{config}" for name in ("text_encoder", "image_encoder") for config in configs]
        + [
            f"text_encoder/7/{name}"
            for name in ("model.onnx", "tokenizer.json", "release.json", "lineage.json")
        ]
        + [
            f"image_encoder/7/{name}"
            for name in ("model.onnx", "preprocess.json", "release.json", "lineage.json")
        ]
    )
    for name in ("text_encoder", "image_encoder"):
        assert os.path.samefile(out / name / "7" / "model.onnx", exported[0] / f"{name}.onnx")  # not a copy
        told = json.loads((out / name / "7" / "release.json").read_text())
        assert told["version"] == "7" and told["fingerprint"] == Release.load(exported[0]).fingerprint
    write_model_repository(exported[0], out, 7)  # the same again changes nothing
    write_model_repository(exported[0], out, 8)
    assert (out / "text_encoder" / "8" / "model.onnx").exists() and len(files(out)) == 24


def test_the_configuration_says_what_is_served(exported, tmp_path):
    options = TritonOptions(text_batch=16, image_batch=4, queue_delay=500, instances=2)
    write_model_repository(exported[0], tmp_path, 1, options)
    text = (tmp_path / "text_encoder" / "config.pbtxt").read_text()
    image = (tmp_path / "image_encoder" / "config.pbtxt").read_text()
    assert re.match(r'name: "text_encoder"\nbackend: "onnxruntime"\nmax_batch_size: 16\n', text)
    assert 'input {\n  name: "ids"\n  data_type: TYPE_INT64\n  dims: -1\n}' in text
    assert (
        'input {\n  name: "pixels"\n  data_type: TYPE_FP32\n  dims: 3\n  dims: 384\n  dims: 128\n}' in image
    )
    for config in (text, image):
        assert 'output {\n  name: "embedding"\n  data_type: TYPE_FP32\n  dims: 24\n}' in config
        assert "max_queue_delay_microseconds: 500\n" in config and "kind: KIND_AUTO\n  count: 2\n" in config
        assert "optimization" not in config
    # Every length that is served is warm, alone and in a full batch.
    assert re.findall(r'name: "(\d+) of (\d+)"', text) == [
        (batch, length) for length in ("32", "64", "128", "248") for batch in ("1", "16")
    ]
    assert re.findall(r'name: "(\d+) of ([\dx]+)"', image) == [("1", "3x384x128"), ("4", "3x384x128")]


def test_the_variants_for_gpus(exported, tmp_path):
    write_model_repository(exported[0], tmp_path, 1, TritonOptions(engine_cache="/cache", half=False))
    cuda, tensorrt = (
        (tmp_path / "text_encoder" / "configs" / f"{name}.pbtxt").read_text() for name in ("cuda", "tensorrt")
    )
    assert 'gpu_execution_accelerator {\n      name: "cuda"\n' in cuda and "kind: KIND_GPU" in cuda
    said = dict(re.findall(r'key: "(\w+)"\n\s+value: "(.*)"', tensorrt))
    assert said["precision_mode"] == "FP32" and said["trt_engine_cache_path"] == "/cache"
    assert (said["trt_profile_min_shapes"], said["trt_profile_max_shapes"]) == ("ids:1x2", "ids:64x248")


def test_versions_of_another_shape_or_content_are_refused(exported, tmp_path):
    out = tmp_path / "models"
    write_model_repository(exported[0], out, 1)
    with pytest.raises(CtgiError, match="with other options; write this version to a new folder"):
        write_model_repository(exported[0], out, 2, TritonOptions(text_batch=8))
    other = shutil.copytree(exported[0], tmp_path / "other")
    release = Release.load(other)
    Release(**{**release.__dict__, "metrics": {}}).save(other)
    with pytest.raises(CtgiError, match="holds another release"):
        write_model_repository(other, out, 1)
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(CtgiError, match="changed or damaged"):
        write_model_repository(other, out, 3)
    assert not (out / "text_encoder" / "2").exists() and not (out / "text_encoder" / "3").exists()


@pytest.mark.parametrize(
    "wrong", [{"text_batch": 0}, {"instances": 0}, {"queue_delay": -1}, {"engine_cache": "ä\n"}]
)
def test_options_that_cannot_be(wrong):
    with pytest.raises(CtgiError):
        TritonOptions(**wrong)


def test_the_text_form_of_protocol_buffers():
    message = {
        "a": 1,
        "b": [1, 2],
        "c": {"d": 'x"y\\z', "e": True},
        "f": {},
        "g": [{"h": Word("W")}],
        "i": [],
    }
    assert pbtxt(message) == (
        'a: 1\nb: 1\nb: 2\nc {\n  d: "x\\"y\\\\z"\n  e: true\n}\nf {}\ng {\n  h: W\n}\n'
    )


def test_a_published_release_comes_back_as_it_was(exported, tmp_path):
    store = open_store(str(tmp_path / "store"))
    publish(store, exported[0], "person", 5, arrange=as_repository)
    got = fetch(store, "person", 5, tmp_path / "got").folder
    release = Release.load(got)
    assert (release.version, release.fingerprint) == ("5", Release.load(exported[0]).fingerprint)
    texts = ["a woman in a red coat", "a man"]
    vectors = OnnxEncoders(got, threads=1).encode_texts(texts)
    np.testing.assert_array_equal(vectors, OnnxEncoders(exported[0], threads=1).encode_texts(texts))
    repository = fetch(store, "person", 5, tmp_path / "models", layout="repository").folder
    write_model_repository(exported[0], tmp_path / "written", 5)
    assert files(repository) == files(tmp_path / "written")
    assert all(
        (repository / f).read_bytes() == (tmp_path / "written" / f).read_bytes() for f in files(repository)
    )


def both_encoders(server, version, exported):
    """What Triton says for texts and pictures, and what the release says in this process."""
    encoders = OnnxEncoders(exported, threads=1)
    ids = encoders._tokenizer(["a woman in a red coat", "a man"])
    pixels = np.random.default_rng(0).standard_normal((2, 3, 384, 128), dtype=np.float32)
    return [
        (
            server.infer("text_encoder", version, "ids", "INT64", ids),
            encoders._text.run(None, {"ids": ids})[0],
        ),
        (
            server.infer("image_encoder", version, "pixels", "FP32", pixels),
            encoders._image.run(None, {"pixels": pixels})[0],
        ),
    ]


@pytest.mark.slow
def test_triton_serves_two_versions_of_it(exported, tmp_path):
    options = TritonOptions(text_batch=4, image_batch=2)
    for version in (7, 8):
        write_model_repository(exported[0], tmp_path / "models", version, options)
    with triton(str(tmp_path / "models"), tmp_path) as server:
        for version in (7, 8):
            for said, wanted in both_encoders(server, version, exported[0]):
                np.testing.assert_allclose(said, wanted, atol=1e-6)
        config = server.get("/v2/models/text_encoder/config")
        assert config["max_batch_size"] == 4 and len(config["model_warmup"]) == 8
        assert config["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 1024
        stats = server.get("/v2/models/text_encoder/versions/7/stats")["model_stats"][0]
        # Four lengths, each warmed up alone and in a batch of four, and one request of this test.
        assert stats["inference_stats"]["success"]["count"] == 4 * (1 + 4) + 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["cuda", "tensorrt"])
def test_triton_understands_the_variants_for_gpus(exported, tmp_path, variant):
    """Without a GPU it reads them and then refuses to load them, for the GPU's sake alone."""
    write_model_repository(exported[0], tmp_path / "models", 1)
    with pytest.raises(RuntimeError) as error:
        with triton(str(tmp_path / "models"), tmp_path, f"--model-config-name={variant}"):
            raise AssertionError("there is a GPU; this test is for machines without one")
    for name in ("text_encoder", "image_encoder"):
        assert f"of model {name} has kind KIND_GPU but no GPUs are available" in str(error.value)


@pytest.mark.slow
def test_triton_serves_it_out_of_the_store(exported, tmp_path, s3_server, monkeypatch):
    s3_server.into(monkeypatch)
    store = open_store(s3_server.url("triton"))
    done = publish(store, exported[0], "person", 3, arrange=as_repository)
    repository = f"s3://http://{s3_server.endpoint}/{store.url.removeprefix('s3://')}/{done.manifest.prefix}"
    keys = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with triton(repository, tmp_path, environment=keys) as server:
        for said, wanted in both_encoders(server, 3, exported[0]):
            np.testing.assert_allclose(said, wanted, atol=1e-6)
