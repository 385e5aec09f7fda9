from __future__ import annotations

import os

import pytest

from ctgi.storage.opening import open_store
from tests.storage.seaweed import s3_server

__all__ = ["s3_server"]


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    server = request.getfixturevalue("s3_server")
    server.into(monkeypatch, CTGI_S3_PATIENCE="20")
    return open_store(server.url("store"))


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "release"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(os.urandom(300_000))
    (folder / "sub" / "tokenizer.json").write_text("{}")
    (folder / ".hidden").write_text("not published")
    return folder
