"""Dossiers in memory and on disk: alignment, staleness, size, damage, and other writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ctgi.errors import CtgiError
from ctgi.interaction.dossier import Answer, Dossiers, Facet
from ctgi.interaction.dossier_store import DossierStore, packed_answers
from ctgi.interaction.vocabulary import default_facets

FACETS = default_facets()


def some(
    count: int, *, facets: tuple[Facet, ...] = FACETS, model: str = "m", prompt: str = "p@1"
) -> Dossiers:
    rng = np.random.default_rng(count)
    tables = tuple(rng.dirichlet(np.ones(len(f.values)), count).astype(np.float32) for f in facets)
    said = packed_answers(
        [Answer("hat", "The person wears no hat.", 0.91), Answer("bag", "Cannot tell.", None)]
    )
    return Dossiers(facets, tuple(f"id{row}" for row in range(count)), tables, model, prompt, (said,) * count)


def test_they_come_back_from_disk(tmp_path: Path) -> None:
    before = some(50)
    before.save(tmp_path / "d.sqlite")
    after = Dossiers.load(tmp_path / "d.sqlite")
    assert (after.ids, after.facets, after.model, after.prompt_version) == (before.ids, FACETS, "m", "p@1")
    for one, other in zip(before.probability, after.probability, strict=True):
        assert other.dtype == np.float32 and np.abs(one - other).max() < 1e-3
        assert other.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert after.answers("id7") == (
        Answer("hat", "The person wears no hat.", 0.91),
        Answer("bag", "Cannot tell.", None),
    )
    assert after.answers("nobody") == ()


def test_rows_follow_the_ids_and_strangers_cannot_tell() -> None:
    all_ = some(6)
    assert all_.rows(["id4", "x", "id0"]).tolist() == [4, -1, 0]
    mine = all_.of(["id4", "x"])
    assert mine.ids == ("id4", "x") and mine.answers("id4") and mine.answers("x") == ()
    for table, whole in zip(mine.probability, all_.probability, strict=True):
        assert (table[0] == whole[4]).all() and table[1, -1] == 1 and table[1].sum() == 1
    assert mine.prior is all_.prior


def test_the_prior_counts_who_could_tell() -> None:
    table = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    dossiers = Dossiers((Facet("hat", "kind", ("cap", "none", "cannot tell")),), ("a", "b", "c"), (table,))
    assert dossiers.prior[0] == pytest.approx([2.5 / 3, 0.5 / 3])


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CtgiError, match="2 pictures"):
        Dossiers((FACETS[0],), ("a", "b"), (np.ones((1, len(FACETS[0].values)), np.float32),))


def test_stale_are_those_of_another_model_or_prompt(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    some(4).save(path)
    with DossierStore(path) as store:
        number = store.recipe("m", "p@2", FACETS)
        store.put("id2", number, [table[2] for table in some(4).probability], [])
        assert store.fresh("m", "p@1", FACETS) == {"id0", "id1", "id3"}
        assert store.fresh("m", "p@2", FACETS) == {"id2"} and store.fresh("other", "p@2", FACETS) == set()
    dossiers = Dossiers.load(path)
    assert dossiers.prompt_version == "p@2"
    assert set(dossiers.stale("m", "p@2")) == {"id0", "id1", "id3"} and dossiers.stale("m", "p@1") == ("id2",)
    assert set(dossiers.stale("other", "p@2")) == set(dossiers.ids)
    assert some(2).stale("m", "p@1") == () and some(2).stale("m", "p@9") == ("id0", "id1")


def test_dossiers_about_other_facets_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    some(4).save(path)
    Dossiers(
        FACETS[:3], ("new",), tuple(t[:1] for t in some(1, facets=FACETS[:3]).probability), "m", "p@2"
    ).save(path)
    assert Dossiers.load(path).ids == ("new",)


def test_a_picture_takes_less_than_two_kilobytes(tmp_path: Path) -> None:
    long = [
        Answer(f"topic{n}", "The person wears a dark green jacket with long sleeves.", 0.5) for n in range(13)
    ]
    dossiers = some(300)
    dossiers = Dossiers(
        FACETS,
        tuple(f"{n:064x}" for n in range(300)),
        dossiers.probability,
        "m",
        "p",
        (packed_answers(long),) * 300,
    )
    dossiers.save(tmp_path / "d.sqlite")
    with DossierStore(tmp_path / "d.sqlite") as store:
        assert 500 < store.bytes_per_picture() < 2048


@pytest.mark.parametrize("content", [b"", b"not a database, and long enough to be looked at " * 50])
def test_what_is_no_dossier_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.sqlite"
    path.write_bytes(content)
    with pytest.raises(CtgiError) as error:
        Dossiers.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(CtgiError, match="ctgi index --dossiers"):
        Dossiers.load(tmp_path / "none.sqlite")


def test_a_dossier_of_the_wrong_length_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    with DossierStore(path) as store:
        store.put("a", store.recipe("m", "p", FACETS), [np.ones(3, np.float32)], [])
    with pytest.raises(CtgiError, match="damaged"):
        Dossiers.load(path)


def test_a_killed_writer_leaves_whole_rows(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
import numpy as np
from ctgi.interaction.dossier_store import DossierStore
from ctgi.interaction.vocabulary import default_facets
facets = default_facets()
with DossierStore({str(tmp_path / "d.sqlite")!r}) as store:
    number = store.recipe("m", "p", facets)
    for row in range(10**6):
        store.put(f"id{{row}}", number, [np.eye(len(f.values), dtype=np.float32)[0] for f in facets], [])
        print(row, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 40:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    dossiers = Dossiers.load(tmp_path / "d.sqlite")
    assert len(dossiers) >= 41 and all((table[:, 0] == 1).all() for table in dossiers.probability)


def test_forgotten_pictures_are_gone(tmp_path: Path) -> None:
    some(3).save(tmp_path / "d.sqlite")
    with DossierStore(tmp_path / "d.sqlite") as store:
        store.forget({"id0", "nobody"})
        assert store.ids() == {"id1", "id2"}


def test_threads_may_keep_dossiers_at_the_same_time(tmp_path: Path) -> None:
    weights = [np.ones(len(facet.values), np.float32) for facet in FACETS]
    with DossierStore(tmp_path / "d.sqlite") as store, ThreadPoolExecutor(8) as threads:
        number = store.recipe("m", "p", FACETS)
        names = [f"{row}" for row in range(400)]
        list(threads.map(lambda name: store.put(name, number, weights, []), names))
        assert store.ids() == set(names)
