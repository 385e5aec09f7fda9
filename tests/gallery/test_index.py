from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.gallery.index import Gallery

PRINT = "ab" * 32


def unit(rng, count, dim=8):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(path, count=20):
    gallery = Gallery.create(path, PRINT, 8)
    vectors = unit(np.random.default_rng(0), count)
    ids = [f"p{n}" for n in range(count)]
    gallery.upsert(ids, vectors, [{"path": f"{n}.jpg", "identity": n % 4} for n in range(count)])
    return gallery, ids, vectors


def test_what_is_put_in_is_found_again(tmp_path):
    gallery, ids, vectors = filled(tmp_path / "g")
    for opened in (gallery, Gallery.open(tmp_path / "g", PRINT)):
        hits = opened.search(vectors[:3], 5)
        assert hits.ids[:, 0].tolist() == ids[:3] and hits.ids.shape == hits.scores.shape == (3, 5)
        np.testing.assert_allclose(hits.scores[:, 0], 1, atol=1e-6)
        assert opened.ids == ids and len(opened) == 20 and "p7" in opened and "p99" not in opened
        np.testing.assert_array_equal(opened.vectors(["p7", "p2"]), vectors[[7, 2]])
        assert opened.payloads(["p5"]) == [{"path": "5.jpg", "identity": 1}]
    description = gallery.describe()
    assert (description["count"], description["dim"], description["fingerprint"]) == (20, 8, PRINT)


def test_one_vector_filter_and_more_hits_than_pictures(tmp_path):
    gallery, _, vectors = filled(tmp_path / "g")
    assert gallery.search(vectors[0], 50).ids.shape == (1, 20)
    only = gallery.search(vectors[0], 50, filter={"identity": 2})
    assert sorted(only.ids[0]) == sorted(f"p{n}" for n in range(2, 20, 4))
    either = gallery.search(vectors[0], 50, filter={"identity": [2, 3], "path": "3.jpg"})
    assert either.ids.tolist() == [["p3"]]
    assert gallery.search(vectors[:2], 5, filter={"camera": 1}).ids.shape == (2, 0)
    assert Gallery.create(tmp_path / "empty", PRINT, 8).search(vectors[0], 5).ids.shape == (1, 0)


def test_another_release_is_refused_and_says_what_to_do(tmp_path):
    filled(tmp_path / "g")
    with pytest.raises(
        CtgiError, match="abababababab, asked with cdcdcdcdcdcd; search with that release, or index"
    ):
        Gallery.open(tmp_path / "g", "cd" * 32)
    assert Gallery.open(tmp_path / "g", None).describe()["count"] == 20
    with pytest.raises(CtgiError, match="no gallery there"):
        Gallery.open(tmp_path / "nowhere", PRINT)
    with pytest.raises(CtgiError, match="is there already"):
        Gallery.create(tmp_path / "g", PRINT, 8)


def test_bad_input_is_named_and_changes_nothing(tmp_path):
    gallery, _, vectors = filled(tmp_path / "g")
    before = gallery.describe()
    for ids, table, payload, reason in (
        (["x"], vectors[:2], [{}, {}], "1 ids, 2 vectors"),
        (["x", "x"], vectors[:2], [{}, {}], "once in a call"),
        ([""], vectors[:1], [{}], "non-empty"),
        (["x"], vectors[:1, :4], [{}], "length 8"),
        (["x"], vectors[:1] * 2, [{}], "unit norm"),
        (["x"], vectors[:1] * np.nan, [{}], "unit norm"),
        (["x"], vectors[:1], [{"path": object()}], "JSON"),
        (["x"], vectors[:1], [{"score": float("nan")}], "JSON"),
    ):
        with pytest.raises(CtgiError, match=reason):
            gallery.upsert(ids, table, payload)
    for table, k, reason in (
        (vectors[:, :3], 1, "length 8"),
        (vectors * np.inf, 1, "not finite"),
        (vectors, 0, "k = 0"),
    ):
        with pytest.raises(CtgiError, match=reason):
            gallery.search(table, k)
    for call in (gallery.vectors, gallery.payloads):
        with pytest.raises(CtgiError, match="'x' is not in the gallery"):
            call(["x"])
    assert gallery.describe() == before == Gallery.open(tmp_path / "g", PRINT).describe()


operation = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True)),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 12), min_size=1, max_size=6)),
    st.tuples(st.just("reopen"), st.just([])),
)


@settings(max_examples=40, deadline=None)
@given(operations=st.lists(operation, max_size=12), seed=st.integers(0, 1000))
def test_any_history_equals_a_dictionary(tmp_path_factory, operations, seed):
    path = tmp_path_factory.mktemp("g")
    rng = np.random.default_rng(seed)
    gallery, model = Gallery.create(path, PRINT, 8), {}
    for count, (kind, numbers) in enumerate(operations):
        ids = [f"p{n}" for n in numbers]
        if kind == "upsert":
            vectors = unit(rng, len(ids))
            gallery.upsert(ids, vectors, [{"path": name, "n": count} for name in ids])
            for name, vector in zip(ids, vectors, strict=True):
                model.pop(name, None)
                model[name] = (vector, count)
        elif kind == "delete":
            assert gallery.delete(ids) == len(set(ids) & set(model))
            for name in ids:
                model.pop(name, None)
        else:
            gallery = Gallery.open(path, PRINT)
        assert gallery.ids == list(model)
    for opened in (gallery, Gallery.open(path, PRINT)):
        assert opened.ids == list(model)
        if model:
            np.testing.assert_array_equal(
                opened.vectors(list(model)), np.stack([v for v, _ in model.values()])
            )
            assert [item["n"] for item in opened.payloads(list(model))] == [n for _, n in model.values()]
    on_disk = {item.name for item in os.scandir(path) if item.is_dir()}
    assert on_disk == set(json.loads((path / "manifest.json").read_text())["segments"])


def test_many_small_batches_leave_few_segments(tmp_path):
    gallery = Gallery.create(tmp_path / "g", PRINT, 8)
    vectors = unit(np.random.default_rng(1), 130)
    for n in range(130):
        gallery.upsert([f"p{n}"], vectors[n : n + 1], [{"path": ""}])
    assert gallery.describe()["segments"] <= 8
    np.testing.assert_array_equal(Gallery.open(tmp_path / "g", PRINT).vectors(gallery.ids), vectors)


def test_readers_see_whole_generations_while_a_writer_replaces(tmp_path):
    gallery = Gallery.create(tmp_path / "g", PRINT, 8)
    stop, faults = threading.Event(), []

    def write():
        rng, n = np.random.default_rng(2), 0
        while not stop.is_set():
            n += 1
            gallery.upsert(["a", "b", "c"], unit(rng, 3), [{"n": n}] * 3)

    def read():
        try:
            while not stop.is_set():
                reader = Gallery.open(tmp_path / "g", PRINT)
                assert len({item["n"] for item in reader.payloads(reader.ids)}) <= 1
                reader.search(np.ones(8), 3)
                reader.refresh()
        except Exception as error:  # a thread's failure must reach the test
            faults.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=read), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    # As long as it takes for some generations to pass, however busy the machine is.
    late = time.monotonic() + 60
    while gallery.describe()["generation"] <= 5 and not faults and time.monotonic() < late:
        time.sleep(0.05)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults and gallery.describe()["generation"] > 5


def test_two_writers_lose_nothing(tmp_path):
    one = Gallery.create(tmp_path / "g", PRINT, 8)
    two = Gallery.open(tmp_path / "g", PRINT)
    vectors = unit(np.random.default_rng(3), 4)
    one.upsert(["a"], vectors[:1], [{"path": "a"}])
    two.upsert(["b"], vectors[1:2], [{"path": "b"}])
    assert one.refresh() and not one.refresh()
    assert one.ids == two.ids == ["a", "b"]


def test_kill_minus_nine_while_indexing_then_again_gives_the_same(tmp_path):
    code = (
        "import sys, numpy as np\nfrom ctgi.gallery.index import Gallery\n"
        "path, slow = sys.argv[1:]\n"
        "v = np.random.default_rng(9).standard_normal((400, 8)).astype('f4')\n"
        "v /= np.linalg.norm(v, axis=1, keepdims=True)\n"
        "try: g = Gallery.open(path, 'f')\n"
        "except Exception: g = Gallery.create(path, 'f', 8)\n"
        "print('ready', flush=True)\n"
        "for n in range(0, 400, 5):\n"
        "    ids = [str(i) for i in range(n, n + 5)]\n"
        "    new = [i for i in ids if i not in g]\n"
        "    g.upsert(new, v[[int(i) for i in new]], [{'path': i} for i in new])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    for wait in (0.02, 0.05, 0.1):
        process = subprocess.Popen(
            [*command, str(tmp_path / "g"), "1"], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        part = Gallery.open(tmp_path / "g", "f")
        assert part.ids == [str(n) for n in range(len(part))] and len(part) % 5 == 0
    for name in ("g", "whole"):
        subprocess.run(
            [*command, str(tmp_path / name), "0"], check=True, env=environment, stdout=subprocess.DEVNULL
        )
    broken, whole = (Gallery.open(tmp_path / name, "f") for name in ("g", "whole"))
    assert broken.ids == whole.ids and len(whole) == 400
    np.testing.assert_array_equal(broken.vectors(broken.ids), whole.vectors(whole.ids))


def test_a_damaged_segment_is_one_line(tmp_path):
    filled(tmp_path / "g")
    (tmp_path / "g" / "00000001" / "vectors.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CtgiError, match="damaged"):
        Gallery.open(tmp_path / "g", PRINT)
    (tmp_path / "g" / "00000001" / "vectors.npy").unlink()
    for verify in (False, True):
        with pytest.raises(CtgiError, match="vectors.npy is missing"):
            Gallery.open(tmp_path / "g", PRINT, verify=verify)
    with pytest.raises(CtgiError, match="is missing"):
        Gallery.open(tmp_path / "g", PRINT)
    (tmp_path / "g" / "manifest.json").write_text("{")
    with pytest.raises(CtgiError, match="cannot be read"):
        Gallery.open(tmp_path / "g", PRINT)


def test_a_changed_byte_is_found_by_the_digests(tmp_path):
    filled(tmp_path / "g")
    vectors = tmp_path / "g" / "00000001" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-3] ^= 1
    vectors.write_bytes(content)
    Gallery.open(tmp_path / "g", PRINT)  # searching does not read all of it twice
    with pytest.raises(CtgiError, match=r"damaged \(vectors.npy is not what was written\); move .*g away"):
        Gallery.open(tmp_path / "g", PRINT, verify=True)
    vectors.with_name("sha256.json").write_text("{}")
    with pytest.raises(CtgiError, match="damaged"):
        Gallery.open(tmp_path / "g", PRINT, verify=True)
    vectors.with_name("sha256.json").unlink()  # as an older version left it
    Gallery.open(tmp_path / "g", PRINT, verify=True)


def test_damage_is_not_written_on_with_a_digest_that_hides_it(tmp_path):
    gallery, _, vectors = filled(tmp_path / "g")
    entries = tmp_path / "g" / "00000001" / "entries.jsonl"
    entries.write_text(entries.read_text().replace('"path"', '"paht"'))
    before = (tmp_path / "g" / "manifest.json").read_bytes()
    more = [f"new{n}" for n in range(20)]  # as many as there are: the first segment is swallowed
    with pytest.raises(CtgiError, match="entries.jsonl is not what was written"):
        gallery.upsert(more, vectors, [{"path": name} for name in more])
    assert (tmp_path / "g" / "manifest.json").read_bytes() == before
