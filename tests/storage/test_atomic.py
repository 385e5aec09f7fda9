from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.atomic import atomic_directory, atomic_file, write_bytes, write_json, write_text


def test_a_file_appears_whole_with_ordinary_rights(tmp_path):
    write_text(tmp_path / "deep" / "name.txt", "crimson é")
    assert (tmp_path / "deep" / "name.txt").read_text(encoding="utf-8") == "crimson é"
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert (tmp_path / "deep" / "name.txt").stat().st_mode == plain.stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"kept": 1})
    with pytest.raises(ZeroDivisionError), atomic_file(target) as handle:
        handle.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(ValueError):
        write_json(target, float("nan"))
    assert target.read_text() == '{\n  "kept": 1\n}\n'
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_directory_is_published_at_once_or_not_at_all(tmp_path):
    target = tmp_path / "release"
    with pytest.raises(RuntimeError), atomic_directory(target) as folder:
        (folder / "one").write_text("1")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with atomic_directory(target) as folder:
        (folder / "one").write_text("1")
        assert not target.exists()
    assert (target / "one").read_text() == "1"
    with pytest.raises(CtgiError, match="exists already"), atomic_directory(target):
        pass
    with atomic_directory(target, replace=True) as folder:
        (folder / "two").write_text("2")
    assert os.listdir(target) == ["two"] and os.listdir(tmp_path) == ["release"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CtgiError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_a_reader_never_sees_a_torn_file(tmp_path):
    target, stop = tmp_path / "value", threading.Event()
    sizes = {b"a" * 200_000, b"b" * 100_000}
    write_bytes(target, next(iter(sizes)))

    def write() -> None:
        while not stop.is_set():
            for data in sizes:
                write_bytes(target, data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert target.read_bytes() in sizes
    finally:
        stop.set()
        thread.join()


def test_a_name_that_is_not_utf8_is_kept_in_json(tmp_path):
    name = os.fsdecode(b"bad\xff.jpg")
    write_json(tmp_path / "skipped.json", [name, "\xe4\u4e2d"])
    assert json.loads((tmp_path / "skipped.json").read_text(encoding="utf-8")) == [name, "\xe4\u4e2d"]


def test_only_a_directory_is_replaced_by_one(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with (
            pytest.raises(CtgiError, match="is no folder"),
            atomic_directory(tmp_path / name, replace=True),
        ):
            pass
        assert (tmp_path / name).read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_kill_minus_nine_leaves_a_whole_file(tmp_path):
    code = (
        "import sys\nfrom ctgi.storage.atomic import write_bytes\n"
        "for n in range(10**6):\n"
        "    write_bytes(sys.argv[1], b'%07d' % n * 20000)\n"
        "    if n == 0: print('ready', flush=True)\n"
    )
    target = tmp_path / "value"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)],
        stdout=subprocess.PIPE,
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    data = target.read_bytes()
    assert data == data[:7] * 20000
