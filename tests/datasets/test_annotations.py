from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctgi.datasets.annotations import LAYOUTS, Sample, read_dataset
from ctgi.datasets.splits import hold_out
from ctgi.errors import CtgiError


def entry(split: str, name: str, identity: int, *captions: str, key: str = "img_path") -> dict[str, Any]:
    return {"split": split, key: name, "id": identity, "captions": list(captions or ("a person",))}


def written(root: Path, entries: Any, layout: str = "rstpreid") -> Path:
    rules = LAYOUTS[layout]
    pictures = root / rules.pictures
    pictures.mkdir(exist_ok=True)
    for item in entries if isinstance(entries, list) else []:
        name = item.get(rules.picture_key) if isinstance(item, dict) else None
        if isinstance(name, str) and name and ".." not in name and not name.startswith("/"):
            (pictures / name).parent.mkdir(parents=True, exist_ok=True)
            (pictures / name).write_bytes(b"x")
    (root / rules.files[0]).write_text(json.dumps(entries))
    return root


GOOD = [
    entry("train", "0_a.jpg", 0, "a man", "a tall man"),
    entry("train", "1_a.jpg", 1),
    entry("val", "2_a.jpg", 2),
    entry("test", "3_a.jpg", 3, " a woman \n"),
]


def test_rstpreid(tmp_path: Path) -> None:
    data = read_dataset(written(tmp_path, GOOD), "rstpreid")
    imgs = tmp_path / "imgs"
    assert data.train == (
        Sample(imgs / "0_a.jpg", 0, ("a man", "a tall man")),
        Sample(imgs / "1_a.jpg", 1, ("a person",)),
    )
    assert data.val == (Sample(imgs / "2_a.jpg", 2, ("a person",)),)
    assert data.test == (Sample(imgs / "3_a.jpg", 3, ("a woman",)),)


def test_cuhk_pedes_counts_from_one(tmp_path: Path) -> None:
    entries = [
        entry("train", "cam_a/1.png", 1, key="file_path"),
        entry("train", "cam_b/1.png", 2, key="file_path"),
        entry("test", "Market/1.png", 4, key="file_path"),
    ]
    data = read_dataset(written(tmp_path, entries, "cuhk-pedes"), "cuhk-pedes")
    assert [sample.identity for sample in data.train + data.test] == [0, 1, 3]
    with pytest.raises(CtgiError, match="id 0 is not a whole number from 1"):
        read_dataset(
            written(tmp_path, [entry("train", "a.png", 0, key="file_path")], "cuhk-pedes"), "cuhk-pedes"
        )


@pytest.mark.parametrize("name", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_icfg_pedes_under_both_its_names_and_without_val(tmp_path: Path, name: str) -> None:
    entries = [
        entry("train", "test/0000/x.jpg", 0, key="file_path"),
        entry("test", "t.jpg", 1, key="file_path"),
    ]
    written(tmp_path, entries, "icfg-pedes")
    (tmp_path / "ICFG-PEDES.json").rename(tmp_path / name)
    data = read_dataset(tmp_path, "icfg-pedes")
    assert (len(data.train), data.val, len(data.test)) == (1, (), 1)


def test_icfg_pedes_has_no_val(tmp_path: Path) -> None:
    written(tmp_path, [entry("val", "x.jpg", 0, key="file_path")], "icfg-pedes")
    with pytest.raises(CtgiError, match="'val' is not one of train, test"):
        read_dataset(tmp_path, "icfg-pedes")


@pytest.mark.parametrize("name", ["UFine6926_Annotations.json", "whatever.json"])
def test_ufine6926_begins_at_its_root_under_whatever_name_and_number(tmp_path: Path, name: str) -> None:
    entries = [
        entry("train", "images/1.jpg", 7, "long", key="file_path"),
        entry("test", "images/2.jpg", 1, key="file_path"),
        entry("train", "images/3.jpg", 3, key="file_path"),
    ]
    written(tmp_path, entries, "ufine6926")
    (tmp_path / "UFine6926_Annotations.json").rename(tmp_path / name)
    data = read_dataset(tmp_path, "ufine6926")
    assert data.train[0] == Sample(tmp_path / "images" / "1.jpg", 1, ("long",))
    assert [sample.identity for sample in data.train + data.test] == [1, 0, 2]
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    if name == "whatever.json":
        with pytest.raises(CtgiError, match="2 files could be the annotations"):
            read_dataset(tmp_path, "ufine6926")
    else:
        assert read_dataset(tmp_path, "ufine6926") == data


def test_ufine3c_is_there_to_be_tested_on_alone(tmp_path: Path) -> None:
    item = {**entry("test", "images/7446.jpg", 2250, key="file_path"), "source": "UFine6926"}
    data = read_dataset(written(tmp_path, [item], "ufine3c"), "ufine3c")
    assert (len(data.train), len(data.val), len(data.test)) == (0, 0, 1)
    written(tmp_path, [entry("train", "images/1.jpg", 1, key="file_path")], "ufine3c")
    with pytest.raises(CtgiError, match="'train' is not one of test"):
        read_dataset(tmp_path, "ufine3c")


def test_a_subset_of_ones_own_is_renumbered_when_asked(tmp_path: Path) -> None:
    entries = [
        entry("train", "a.jpg", 40),
        entry("train", "b.jpg", 12),
        entry("val", "c.jpg", 0),
        entry("test", "d.jpg", 13),
        entry("train", "e.jpg", 40),
    ]
    written(tmp_path, entries)
    with pytest.raises(CtgiError, match=r"training identity 0 is missing .*--renumber"):
        read_dataset(tmp_path, "rstpreid")
    data = read_dataset(tmp_path, "rstpreid", renumber=True)
    assert [s.identity for s in data.train + data.val + data.test] == [1, 0, 1, 2, 3]


def test_damaged_captions_are_flagged_and_stay_but_for_empty_ones(tmp_path: Path) -> None:
    long = "a man in a black jacket with grey trousers and white shoes"
    entries = [
        entry("train", "a.jpg", 0, f" {long} ", "  ", "a man in red，"),
        entry("test", "b.jpg", 1, f"{long}.", "print(len(x))"),
    ]
    data = read_dataset(written(tmp_path, entries), "rstpreid")
    assert data.train[0].captions == (long, "a man in red，")
    assert data.test[0].captions == (f"{long}.", "print(len(x))")
    assert [(noise.where, noise.kinds) for noise in data.noise] == [
        ("entry 1", ("shared",)),
        ("entry 1", ("empty",)),
        ("entry 1", ("script",)),
        ("entry 2", ("shared",)),
        ("entry 2", ("code",)),
    ]


def test_the_published_sizes_add_up() -> None:
    # CUHK-PEDES 13,003 people, 40,206 pictures, 80,440 captions; ICFG-PEDES 4,102 and 54,522; RSTPReid 4,101,
    # 20,505 and 41,010; UFine6926 6,926, 26,206 and 52,412: the totals that their authors give.
    totals = {
        name: [sum(part) for part in zip(*rules.sizes.values(), strict=True)]
        for name, rules in LAYOUTS.items()
    }
    assert totals["cuhk-pedes"] == [13003, 40206, 80440]
    assert totals["icfg-pedes"] == [4102, 54522, 54522]
    assert totals["rstpreid"] == [4101, 20505, 41010]
    assert totals["ufine6926"] == [6926, 26206, 52412]
    assert totals["ufine3c"] == [2250, 7446, 37939]


def test_a_picture_listed_twice_for_the_same_person_gathers_its_captions(tmp_path: Path) -> None:
    entries = [*GOOD, entry("train", "0_a.jpg", 0, "once more")]
    data = read_dataset(written(tmp_path, entries), "rstpreid")
    assert data.train[0].captions == ("a man", "a tall man", "once more")
    assert not data.noise


def test_a_caption_that_a_picture_has_already_is_flagged_and_stays(tmp_path: Path) -> None:
    entries = [*GOOD, entry("train", "0_a.jpg", 0, "a man"), entry("train", "1_a.jpg", 1, "a man")]
    data = read_dataset(written(tmp_path, entries), "rstpreid")
    assert data.train[0].captions == ("a man", "a tall man", "a man")
    assert [(noise.where, noise.kinds) for noise in data.noise] == [("entry 5", ("repeated",))]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ([*GOOD, entry("tset", "4.jpg", 4)], r"entry 5: split 'tset' is not one of train, val, test"),
        ([*GOOD, entry("train", "4.jpg", 3)], r"entry 5: identity 3 is in test and in train"),
        ([*GOOD, entry("train", "4.jpg", 9)], r"training identity 2 is missing although they run to 9"),
        ([*GOOD, entry("train", "0_a.jpg", 1)], r"entry 5: 0_a.jpg was listed before for another person"),
        ([*GOOD, entry("train", "4.jpg", 1, "", " ?!")], r"entry 5: none of its captions has words"),
        ([*GOOD, entry("train", "4.jpg", 1, 7)], r"entry 5: caption 7 is not a text"),
        ([*GOOD, {**entry("train", "4.jpg", 1), "captions": []}], r"entry 5: captions is not a list with"),
        (
            [*GOOD, {**entry("train", "4.jpg", 1), "captions": "a man"}],
            r"entry 5: captions is not a list with",
        ),
        ([*GOOD, {**entry("train", "4.jpg", 1), "id": "1"}], r"entry 5: id '1' is not a whole number from 0"),
        ([*GOOD, {**entry("train", "4.jpg", 1), "id": True}], r"entry 5: id True is not a whole number"),
        ([*GOOD, entry("train", "4.jpg", 1, key="file_path")], r"entry 5: no 'img_path'"),
        ([*GOOD, entry("train", "../../etc/passwd", 1)], r"entry 5: .* is not a path inside .*/imgs;"),
        ([*GOOD, "text"], r"entry 5: expected an object"),
        ([entry("test", "4.jpg", 1)], r"no entry has split 'train'"),
        ([*GOOD, entry("", "4.jpg", 4)], r"entry 5: split '' is not one of"),
        ([], r"at least one picture"),
        ({"train": []}, r"expected a JSON list"),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, fault: Any, line: str) -> None:
    with pytest.raises(CtgiError, match=line) as caught:
        read_dataset(written(tmp_path, fault), "rstpreid")
    assert "\n" not in str(caught.value)


def test_faults_of_files(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="no data_captions.json there"):
        read_dataset(tmp_path, "rstpreid")
    with pytest.raises(CtgiError, match="layout 'coco' is unknown"):
        read_dataset(tmp_path, "coco")
    written(tmp_path, GOOD)
    (tmp_path / "imgs" / "1_a.jpg").unlink()
    with pytest.raises(CtgiError, match=r"1_a.jpg: picture is missing \(1 in all\)"):
        read_dataset(tmp_path, "rstpreid")
    (tmp_path / "data_captions.json").write_text("[{")
    with pytest.raises(CtgiError, match="not valid JSON"):
        read_dataset(tmp_path, "rstpreid")
    (tmp_path / "data_captions.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CtgiError, match="cannot be read"):
        read_dataset(tmp_path, "rstpreid")


@settings(deadline=None)
@given(
    identities=st.lists(st.integers(0, 40), min_size=2, max_size=60).filter(lambda ids: len(set(ids)) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_hold_out_parts_people(identities: list[int], fraction: float, seed: int) -> None:
    samples = [Sample(Path(f"{n}.png"), identity, ("x",)) for n, identity in enumerate(identities)]
    train, val = hold_out(samples, fraction, seed)
    assert (train, val) == hold_out(samples, fraction, seed)
    assert sorted(s.picture for s in train + val) == sorted(s.picture for s in samples)
    assert train and val
    old = {s.picture: s.identity for s in samples}
    assert not {old[s.picture] for s in train} & {s.identity for s in val}
    assert {s.identity for s in train} == set(range(len({old[s.picture] for s in train})))
    assert all((old[a.picture] < old[b.picture]) == (a.identity < b.identity) for a in train for b in train)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_hold_out_refuses(fraction: float) -> None:
    with pytest.raises(CtgiError, match="fraction"):
        hold_out([Sample(Path("a"), 0, ("x",)), Sample(Path("b"), 1, ("x",))], fraction, 0)
    with pytest.raises(CtgiError, match="at least 2"):
        hold_out([Sample(Path("a"), 0, ("x",))], 0.5, 0)
