"""A real S3 server behind a proxy with faults: what a bad day does to the store."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.fetch import fetch
from ctgi.storage.opening import open_store
from ctgi.storage.releases import publish
from ctgi.storage.store import AlreadyThere, check_store
from tests.storage.fault_proxy import Fault, fault_proxy
from tests.storage.seaweed import free_ports, start

NONE = lambda *_: None  # noqa: E731


@pytest.fixture
def proxied(s3_server, monkeypatch):
    """A store behind a proxy, and the proxy."""
    with fault_proxy(s3_server.endpoint, NONE) as proxy:
        s3_server.into(monkeypatch, CTGI_S3_ENDPOINT=proxy.endpoint, CTGI_S3_PATIENCE="20")
        monkeypatch.setattr("ctgi.storage.s3.PART", 5 << 20)  # the least that S3 allows
        yield open_store(s3_server.url("faults")), proxy


def impatient(monkeypatch, seconds="0.5"):
    monkeypatch.setenv("CTGI_S3_PATIENCE", seconds)


def every(number, fault):
    """The fault in every so-manieth request."""
    return lambda method, path, count: fault if count % number == 0 else None


def for_a_while(seconds, fault):
    end = time.monotonic() + seconds
    return lambda *_: fault if time.monotonic() < end else None


def test_a_store_that_fails_for_a_while_is_waited_for(proxied, tmp_path):
    store, proxy = proxied
    data = os.urandom(6 << 20)  # two parts
    (tmp_path / "big").write_bytes(data)
    for status, code, call in (
        (500, "InternalError", lambda: store.put("big", tmp_path / "big")),
        (503, "SlowDown", lambda: store.put("once", b"1", only_if_absent=True)),
        (502, "BadGateway", lambda: store.get("big", tmp_path / "got")),
        (504, "GatewayTimeout", lambda: [entry.key for entry in store.list()]),
        (429, "TooManyRequests", lambda: store.delete("once")),
    ):
        proxy.script = for_a_while(0.7, Fault(status=status, code=code))
        started, before = time.monotonic(), len(proxy.seen)
        call()
        assert time.monotonic() - started > 0.5 and len(proxy.seen) - before < 60
    assert (tmp_path / "got").read_bytes() == data and not store.exists("once")


def test_single_failures_all_over_a_transfer(proxied, tmp_path):
    store, proxy = proxied
    data = os.urandom(12 << 20)  # three parts
    (tmp_path / "big").write_bytes(data)
    for number, fault in ((3, Fault(status=500)), (4, Fault(drop=True)), (5, Fault(drop=True, late=True))):
        proxy.script = every(number, fault)
        store.put(f"big{number}", tmp_path / "big")
        proxy.script = NONE
        assert store.read(f"big{number}") == data


def test_a_store_that_comes_up_late(s3_server, monkeypatch):
    [port] = free_ports(1)
    s3_server.into(monkeypatch, CTGI_S3_ENDPOINT=f"127.0.0.1:{port}", CTGI_S3_PATIENCE="20")
    store = open_store(s3_server.url("late"))
    done = threading.Event()

    def later():
        time.sleep(1)
        with fault_proxy(s3_server.endpoint, NONE, port):
            done.wait(30)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        store.put("a", b"1")
        assert store.read("a") == b"1"
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "fault, said",
    [
        (Fault(status=500), "kept answering 500 InternalError; .* run the same command again"),
        (Fault(status=503, code="SlowDown"), "kept answering 503 SlowDown"),
        (Fault(drop=True), "cannot be reached"),
        (Fault(wait=2), "cannot be reached"),
        (Fault(status=507, code="XMinioStorageFull"), "is full; free space"),
        (Fault(status=403, code="AccessDenied"), "has no right"),
        (Fault(status=403, code="RequestTimeTooSkewed"), "clock"),
        (Fault(status=400, code="Nonsense"), "answered 400 Nonsense"),
    ],
)
def test_patience_ends_with_one_line(proxied, monkeypatch, tmp_path, s3_server, fault, said):
    _, proxy = proxied
    impatient(monkeypatch)
    store = open_store(s3_server.url("patience"))
    proxy.script = lambda *_: fault
    for call in (lambda: store.put("a", b"1"), lambda: store.put("a", b"1", only_if_absent=True)):
        started = time.monotonic()
        with pytest.raises(CtgiError, match=said) as error:
            call()
        assert time.monotonic() - started < 15 and "\n" not in str(error.value)


def test_a_server_that_is_none_is_named(monkeypatch, s3_server):
    """Some other program listens there."""
    s3_server.into(monkeypatch, CTGI_S3_PATIENCE="0.5")
    with fault_proxy(s3_server.endpoint, lambda *_: Fault(status=404, code="&garbage;")) as proxy:
        monkeypatch.setenv("CTGI_S3_ENDPOINT", proxy.endpoint)
        with pytest.raises(CtgiError, match="name an S3 server"):
            open_store(s3_server.url("x")).put("a", b"1")


def test_a_broken_download_goes_on_where_it_broke(proxied, tmp_path):
    store, proxy = proxied
    data = os.urandom(5 << 20)
    store.put("file", data)
    proxy.script = lambda method, *_: Fault(cut=2 << 20) if method == "GET" else None
    proxy.passed = 0
    assert store.read("file") == data
    assert proxy.passed < 6 << 20  # nothing came twice
    proxy.passed = 0
    store.get("file", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == data and proxy.passed < 6 << 20


def test_what_an_interrupted_get_brought_is_not_asked_for_again(proxied, tmp_path, monkeypatch):
    store, proxy = proxied
    data = os.urandom(5 << 20)
    store.put("file", data)
    impatient(monkeypatch)
    cut = [Fault(cut=3 << 20)]
    proxy.script = lambda method, *_: (cut.pop() if cut else Fault(drop=True)) if method == "GET" else None
    with pytest.raises(CtgiError, match="again"):
        open_store(store.url).get("file", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    proxy.script, proxy.passed = NONE, 0
    open_store(store.url).get("file", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == data and proxy.passed < 3 << 20
    assert os.listdir(tmp_path) == ["got"]


def test_of_files_that_come_together_one_is_refused_and_the_other_goes_on_later(proxied, tmp_path):
    store, proxy = proxied
    (tmp_path / "release").mkdir()
    for name, size in (("a.onnx", 6 << 20), ("b.onnx", 1 << 20)):
        (tmp_path / "release" / name).write_bytes(os.urandom(size))
    publish(store, tmp_path / "release", "person")

    def script(method, path, count):
        if method != "GET" or "/releases/" not in path:
            return None
        return Fault(rate=2 << 20) if "a.onnx" in path else Fault(wait=1, status=403, code="AccessDenied")

    proxy.script, proxy.passed = script, 0
    with pytest.raises(CtgiError, match="has no right"):
        fetch(store, "person", "latest", tmp_path / "out")
    came, proxy.script, proxy.passed = proxy.passed, NONE, 0
    assert 1 << 20 < came < 5 << 20 and not (tmp_path / "out").exists()  # a.onnx was left where it was
    fetch(store, "person", "latest", tmp_path / "out")
    assert proxy.passed < (7 << 20) - came // 2
    for name in ("a.onnx", "b.onnx"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "release" / name).read_bytes()


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(proxied):
    store, proxy = proxied
    store.put("file", b"a" * (3 << 20))
    chunks = store.chunks("file")
    proxy.script = lambda method, *_: Fault(cut=1 << 20) if method == "GET" else None
    next(chunks)
    proxy.script = NONE
    store.put("file", b"b" * (3 << 20))
    with pytest.raises(CtgiError, match="was replaced while it was read"):
        list(chunks)


def test_a_create_whose_answer_was_lost_knows_itself(proxied):
    store, proxy = proxied
    lost = [Fault(drop=True, late=True)]
    proxy.script = lambda method, *_: lost.pop() if method == "PUT" and lost else None
    store.put("once", b"mine", only_if_absent=True)
    assert not lost and store.read("once") == b"mine"
    with pytest.raises(AlreadyThere):
        store.put("once", b"mine", only_if_absent=True)


def test_a_create_that_meets_another_one_under_way_tries_again(proxied):
    store, proxy = proxied
    busy = [Fault(status=409, code="ConditionalRequestConflict")] * 2
    proxy.script = lambda method, *_: busy.pop() if method == "PUT" and busy else None
    store.put("once", b"mine", only_if_absent=True)
    assert not busy and store.read("once") == b"mine"


@pytest.mark.slow
def test_a_server_without_space(monkeypatch, tmp_path):
    """A second SeaweedFS that may keep a few megabytes."""
    server = start(volumes=1, volume_megabytes=1)
    try:
        server.into(monkeypatch, CTGI_S3_PATIENCE="1")
        store = open_store(server.url("full"))
        (tmp_path / "big").write_bytes(os.urandom(20 << 20))
        with pytest.raises(CtgiError, match="full|out of space"):
            for number in range(5):
                store.put(f"big{number}", tmp_path / "big")
        with pytest.raises(CtgiError, match="full|out of space"):
            check_store(store)
    finally:
        server.process.kill()
        server.process.wait()


def test_two_that_get_the_same_file_do_not_meet(proxied, tmp_path):
    """One goes on with what is there, the other brings its own."""
    store, proxy = proxied
    data = os.urandom(2 << 20)
    store.put("file", data)
    proxy.script = lambda method, *_: Fault(rate=8 << 20) if method == "GET" else None
    threads = [threading.Thread(target=store.get, args=("file", tmp_path / "got")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "got").read_bytes() == data and os.listdir(tmp_path) == ["got"]


@pytest.mark.parametrize("only_if_absent", [False, True])
def test_of_a_writer_that_dies_between_head_and_body_nothing_is_kept(
    s3_server, monkeypatch, only_if_absent: bool
) -> None:
    url = s3_server.url("cut")
    s3_server.into(monkeypatch)
    whole = open_store(url)
    with socket.create_server(("127.0.0.1", 0)) as cut:
        threading.Thread(target=_heads_only, args=(cut, s3_server.endpoint), daemon=True).start()
        monkeypatch.setenv("CTGI_S3_ENDPOINT", f"http://127.0.0.1:{cut.getsockname()[1]}")
        monkeypatch.setenv("CTGI_S3_PATIENCE", "1")
        with pytest.raises(CtgiError):
            open_store(url).put("manifest.json", b'{"version": 1}', only_if_absent=only_if_absent)
    time.sleep(0.3)
    assert not whole.exists("manifest.json")
    whole.put("manifest.json", b"{}", only_if_absent=only_if_absent)
    assert whole.read("manifest.json") == b"{}"


def _heads_only(cut: socket.socket, endpoint: str) -> None:
    """Pass on the head of every request, and hang up where its body would begin."""
    host, port = endpoint.rpartition("/")[2].split(":")
    while True:
        try:
            client, _ = cut.accept()
        except OSError:
            return
        with client, socket.create_connection((host, int(port))) as server:
            said = b""
            while b"\r\n\r\n" not in said and (piece := client.recv(1 << 16)):
                said += piece
            server.sendall(said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            time.sleep(0.2)
