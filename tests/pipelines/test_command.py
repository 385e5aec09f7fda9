"""`ctgi pipeline`: a thin door in the library, and what is tried before anything is started."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.checks import Check, check_model, check_store, check_workspace, failed
from ctgi.cli.main import main
from ctgi.errors import CtgiError
from pipelines.cluster import Cluster
from pipelines.preflight import (
    check_docker,
    check_gpus,
    check_here,
    check_pictures,
    check_registry,
    check_seen,
)

ROOT = Path(__file__).resolve().parents[2]


def test_help_imports_no_kfp() -> None:
    code = (
        "import sys; from ctgi.cli.main import main\n"
        "try: main(['pipeline', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'argparse' in sys.modules and not {'kfp', 'pipelines', 'yaml', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("missing", ["pipelines", "kfp", "kfp.kubernetes"])
def test_what_is_not_installed_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else original(name))
    assert main(["pipeline", "compile"]) == 2
    err = capsys.readouterr().err
    assert "ctgi[pipelines]" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dance"], "invalid choice"),
        (["run", "ctgi_train"], "--local --docker is required"),
        (["run", "ctgi_dance", "--local"], "ctgi_dance"),
        (["run", "ctgi_train", "--local"], "needs pictures"),
        (["submit", "ctgi_train"], "--host"),
        (["compile", "--cluster", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipeline", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_compile_writes_files_and_compares_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.compiling.texts", lambda cluster: {"a.yaml": cluster.image, "b.yaml": "b"})
    words = ["pipeline", "compile", "--out", str(tmp_path)]
    assert main([*words, "--check"]) == 2
    assert "a.yaml, b.yaml" in capsys.readouterr().err
    assert main(words) == 0 and main([*words, "--check"]) == 0
    (tmp_path / "cluster.yaml").write_text("image: other:1\n", encoding="utf-8")
    assert main([*words, "--check", "--cluster", str(tmp_path / "cluster.yaml")]) == 2
    assert "compiled now: a.yaml;" in capsys.readouterr().err


@contextmanager
def registry(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status if self.path == "/v2/ctgi/pipeline/manifests/1" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, False), (401, None)])
def test_the_image_is_looked_for_in_its_registry(status: int, ok: bool | None) -> None:
    with registry(status) as host:
        assert check_registry(f"{host}/ctgi/pipeline:1").ok is ok
        assert check_registry(f"{host}/ctgi/pipeline:2").ok is False
    assert check_registry(f"{host}/ctgi/pipeline:1").ok is None  # cannot be told from here


def test_an_image_that_docker_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    check = check_docker("ctgi/nothing:0")
    assert check.ok is False and "no Docker engine" in check.said
    with pytest.raises(CtgiError, match="nothing was spent"):
        failed(check_here({}, "ctgi/nothing:0"))


def test_containers_see_nothing_outside_of_the_root(tmp_path: Path) -> None:
    inside = {"pictures": str(tmp_path / "root" / "photos"), "store": "s3://b/r", "rounds": 3}
    assert check_seen(inside, tmp_path / "root").ok is True
    check = check_seen({**inside, "work": str(tmp_path / "work")}, tmp_path / "root")
    assert check.ok is False and "work (" in check.said and "pictures" not in check.said


def test_folders_that_are_read_have_to_hold_something(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    given = {"pictures": str(tmp_path / "none"), "data": str(tmp_path / "empty"), "gallery_pictures": ""}
    check = check_pictures(given)
    assert check.ok is False and "pictures" in check.said and "none): no such folder; data" in check.said
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    assert check_pictures({"pictures": str(tmp_path / "empty"), "data": ""}).ok is True
    assert check_pictures({"pictures": "s3://bucket/photos"}).ok is None


def test_gpus_cannot_be_counted_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert check_gpus(Cluster()).ok is None


def test_a_workspace_a_store_and_a_model_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert check_workspace(str(tmp_path / "work")).ok is True
    assert check_workspace(str(tmp_path / "file")).ok is False
    assert check_workspace("relative").ok is False
    assert check_store(str(tmp_path / "store")).ok is True
    assert check_store("http://host/store").ok is False
    with_secret = check_store("s3://key:secret@bucket/x")
    assert with_secret.ok is False and "secret" not in str(with_secret).replace("_SECRET", "").lower()
    assert check_model("http://127.0.0.1:9/v1", "m").ok is False


def test_every_failure_is_in_the_one_line() -> None:
    outcomes = {"a": True, "b": False, "c": None, "d": False}
    checks = [Check(name, ok, f"of {name}") for name, ok in outcomes.items()]
    with pytest.raises(CtgiError, match="b: of b; d: of d"):
        failed(checks)
    failed([checks[0], checks[2]])
