from __future__ import annotations

import json
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ctgi.datasets import shards
from ctgi.datasets.annotations import Sample
from ctgi.datasets.pictures import read_picture
from ctgi.datasets.shards import check_shards, is_shard_set, read_shards, write_shards
from ctgi.errors import CtgiError


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    made = []
    for number in range(7):
        path = tmp_path / "pictures" / f"{number}.{'PNG' if number % 2 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30 + number, 12, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        made.append(Sample(path, number // 2, ("a mänteau, “red”", "two")[: 1 + number % 2]))
    return tuple(made)


def test_what_was_written_is_read(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    assert not is_shard_set(out)
    write_shards(samples, out, per_shard=3)
    assert is_shard_set(out) and check_shards(out) == 3
    assert len(list(out.glob("*.tar"))) == 3
    found = read_shards(out)
    for written, read in zip(samples, found.samples, strict=True):
        assert (read.identity, read.captions) == (written.identity, written.captions)
        np.testing.assert_array_equal(
            np.asarray(found.read(read.picture)), np.asarray(read_picture(written.picture))
        )
    moved = shutil.move(out, tmp_path / "elsewhere")
    assert read_shards(moved).read(read_shards(moved).samples[6].picture).size == (12, 36)
    # A picture that is in no shard, of a validation set say, is a file.
    assert found.read(samples[0].picture).size == (12, 30)


def test_many_threads_read_one_shard(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    write_shards(samples, tmp_path / "shards")
    found = read_shards(tmp_path / "shards")
    rows = np.random.default_rng(0).integers(0, 7, 200)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda row: found.read(found.samples[row].picture).size[1], rows))
    assert sizes == [30 + row for row in rows]


def test_other_readers_of_webdataset_understand_it(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    # The format's rule: consecutive members with one base name, and the ending as key, are one sample.
    write_shards(samples, tmp_path / "shards", per_shard=4)
    groups: list[tuple[str, dict[str, bytes]]] = []
    for tar in sorted((tmp_path / "shards").glob("*.tar")):
        with tarfile.open(tar) as file:
            for member in file:
                base, _, ending = member.name.partition(".")
                if not groups or groups[-1][0] != base:
                    groups.append((base, {}))
                handle = file.extractfile(member)
                assert handle is not None and member.isfile()
                groups[-1][1][ending] = handle.read()
    assert len(groups) == len({base for base, _ in groups}) == 7
    for sample, (_, parts) in zip(samples, groups, strict=True):
        assert set(parts) == {sample.picture.suffix.lower()[1:], "json"}
        assert parts[sample.picture.suffix.lower()[1:]] == sample.picture.read_bytes()
        facts = json.loads(parts["json"])
        assert facts["identity"] == sample.identity and tuple(facts["captions"]) == sample.captions


def test_shards_go_to_several_disks(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    disks = [tmp_path / "disk1", tmp_path / "disk2"]
    write_shards(samples, tmp_path / "shards", per_shard=2, disks=disks)
    assert [len(list(disk.glob("*.tar"))) for disk in disks] == [2, 2]
    assert not list((tmp_path / "shards").glob("*.tar"))
    assert [s.captions for s in read_shards(tmp_path / "shards").samples] == [s.captions for s in samples]


@pytest.mark.parametrize("call", range(1, 8))
def test_interrupted_it_goes_on_behind_the_last_whole_shard(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    write_shards(samples, tmp_path / "whole", per_shard=3)
    calls, replace = 0, shards.os.replace

    def dying(old: Path, new: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        replace(old, new)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(shards.os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            write_shards(samples, out, per_shard=3)
    assert not is_shard_set(out)
    with pytest.raises(CtgiError, match="no shards.json there"):
        read_shards(out)
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    write_shards(samples, out, per_shard=3)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    names = [path.name for path in sorted((tmp_path / "whole").iterdir())]
    assert [path.name for path in sorted(out.iterdir())] == names
    assert all((out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_another_set_does_not_go_into_the_same_folder(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    write_shards(samples, tmp_path / "shards")
    with pytest.raises(CtgiError, match="holds shards of another set"):
        write_shards(samples[:-1], tmp_path / "shards")
    with pytest.raises(CtgiError, match="holds shards of another set"):
        write_shards(samples, tmp_path / "shards", per_shard=2)
    write_shards(samples, tmp_path / "shards")


def test_a_bad_picture_is_found_when_shards_are_written(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    samples[4].picture.write_bytes(b"GIF89a")
    with pytest.raises(CtgiError, match="4.jpg: .* replace or remove it"):
        write_shards(samples, tmp_path / "shards")
    samples[4].picture.unlink()
    with pytest.raises(CtgiError, match="4.jpg: cannot be read"):
        write_shards(samples, tmp_path / "shards")
    with pytest.raises(CtgiError, match="at least one picture"):
        write_shards((), tmp_path / "shards")


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flipped_bit_never_becomes_a_picture(
    samples: tuple[Sample, ...], tmp_path: Path, place: float, bit: int
) -> None:
    out = tmp_path / "shards"
    if not is_shard_set(out):
        write_shards(samples, out)
    shard = out / "shard-000000.tar"
    whole = shard.read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    shard.write_bytes(data)
    try:
        with pytest.raises(CtgiError, match="damaged shard, its digest differs"):
            check_shards(out)
        found = read_shards(out)
        for written, sample in zip(samples, found.samples, strict=True):
            try:
                picture = found.read(sample.picture)
            except CtgiError as error:
                assert "damaged shard" in str(error) and "\n" not in str(error)
            else:
                np.testing.assert_array_equal(np.asarray(picture), np.asarray(read_picture(written.picture)))
    finally:
        shard.write_bytes(whole)


def test_what_is_missing_or_cut_is_named(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write_shards(samples, out, per_shard=4)
    shard = out / "shard-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-512])
    with pytest.raises(CtgiError, match="shard-000001.tar: damaged shard, .* bytes of"):
        read_shards(out)
    shard.unlink()
    with pytest.raises(CtgiError, match="shard-000001.tar: shard is missing"):
        read_shards(out)
    shard.write_bytes(whole)
    found = read_shards(out)
    shard.unlink()
    with pytest.raises(CtgiError, match="shard-000001.tar: shard cannot be read"):
        found.read(found.samples[5].picture)
    shard.write_bytes(whole)
    for text in ("", "{", "[1]", '{"member": "x"}'):
        (out / "shard-000001.jsonl").write_text(text + "\n")
        if text:
            with pytest.raises(CtgiError, match="shard-000001.jsonl: damaged or missing index"):
                read_shards(out)
    for text in ("", "[]", '{"format": "other", "shards": []}'):
        (out / "shards.json").write_text(text)
        with pytest.raises(CtgiError, match="shards.json: damaged index"):
            read_shards(out)
