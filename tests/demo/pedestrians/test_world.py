"""A rendered world: the same from the same seed, continued after an interruption, and telling nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from ctgi.datasets.annotations import read_dataset
from demo.pedestrians.__main__ import main
from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.words import SYNONYMS
from demo.pedestrians.world import World, make_world, person_of, read_world

COUNTS = {"train": 2, "val": 1, "test": 1}
FILE_NAME = re.compile(r"\d{4}_c\d{1,2}_\d{4}\.jpg")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), 3, COUNTS, pictures=2, workers=1)


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_number_of_workers_changes_no_byte(world: World, tmp_path: Path) -> None:
    make_world(tmp_path, 3, COUNTS, pictures=2, workers=2)
    assert _files(tmp_path) == _files(world.root)


def test_an_interrupted_world_is_finished_without_drawing_anyone_twice(world: World, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path, 3, COUNTS, pictures=2, workers=1, progress=stop)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "imgs").iterdir()}
    assert len(drawn) == 4
    (tmp_path / "imgs" / ".0003_c1_0001.jpg.4711").write_bytes(b"half a pict")
    steps: list[tuple[int, int]] = []
    make_world(tmp_path, 3, COUNTS, 2, workers=1, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(4, 8), (6, 8), (8, 8)]
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    assert _files(tmp_path) == _files(world.root)


def test_more_people_in_training_leave_the_test_people_as_they_are(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path, 3, {"test": 1}, pictures=2, workers=1)
    pictures = [[w.picture_path(p).read_bytes() for p in w.of_split("test")] for w in (world, other)]
    assert pictures[0] == pictures[1]
    assert other.people[0] == person_of(3, "test", 0).attributes


def test_another_world_is_not_mixed_into_this_one(world: World) -> None:
    with pytest.raises(ValueError, match="holds another world"):
        make_world(world.root, 4, COUNTS, pictures=2)


@pytest.mark.parametrize(("counts", "pictures"), [({"tset": 1}, 2), ({"test": 0}, 2), ({"test": 1}, 16)])
def test_numbers_that_make_no_world_are_refused(
    tmp_path: Path, counts: dict[str, int], pictures: int
) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_world(tmp_path, 0, counts, pictures)
    assert not list(tmp_path.iterdir())


def test_splits_share_no_identity_and_no_look(world: World) -> None:
    of_split = {split: {p.identity for p in world.of_split(split)} for split in COUNTS}
    assert {split: len(identities) for split, identities in of_split.items()} == COUNTS
    assert len(set().union(*of_split.values())) == len(world.people) == 4
    looks = {tuple(sorted(attributes.items())) for attributes in world.people.values()}
    assert len(looks) == 4


def test_pictures_tell_nothing_but_what_they_show(world: World) -> None:
    words = {value for values in ATTRIBUTES.values() for value in values}
    words |= {word for values in SYNONYMS.values() for names in values.values() for word in names}
    paths = sorted((world.root / "imgs").iterdir())
    assert {path.name for path in paths} == {picture.path for picture in world.pictures}
    for path in paths:
        assert FILE_NAME.fullmatch(path.name)
        assert not any(word in str(path.relative_to(world.root)) for word in words)
        with Image.open(path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (128, 384), "RGB")
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert not picture.getexif()
        data = path.read_bytes()
        assert data.endswith(b"\xff\xd9") and b"\xff\xfe" not in data[:20]


def test_an_identity_is_seen_by_different_cameras_and_once_from_the_front(world: World) -> None:
    for identity in world.people:
        pictures = [picture for picture in world.pictures if picture.identity == identity]
        assert len({picture.camera for picture in pictures}) == len(pictures) == 2
        assert any(picture.view in ("front", "three-quarter") for picture in pictures)


def test_annotations_hold_texts_and_no_attributes(world: World) -> None:
    rows = json.loads((world.root / "data_captions.json").read_text(encoding="utf-8"))
    assert [row["img_path"] for row in rows] == [picture.path for picture in world.pictures]
    assert all(set(row) == {"id", "img_path", "captions", "split"} for row in rows)
    told = [text for row in rows if row["split"] != "train" for text in row["captions"]]
    assert sorted(told) == sorted(query.text for query in world.queries)
    asked = {query.text: query.identity for query in world.queries}
    assert all(
        asked[text] == row["id"] for row in rows if row["split"] != "train" for text in row["captions"]
    )


@pytest.mark.parametrize(
    ("layout", "pictures"), [("cuhk-pedes", (4, 2, 2)), ("icfg-pedes", (4, 0, 2)), ("rstpreid", (4, 2, 2))]
)
def test_the_strict_readers_read_every_layout(
    world: World, layout: str, pictures: tuple[int, int, int]
) -> None:
    dataset = read_dataset(world.root, layout)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == pictures
    paths = {world.picture_path(picture): picture for picture in world.pictures}
    for sample in (*dataset.train, *dataset.val, *dataset.test):
        assert paths[sample.picture].identity == sample.identity


def test_the_truth_is_read_back(world: World) -> None:
    assert read_world(world.root) == world
    for picture in world.pictures:
        for name, value in picture.visible.items():
            assert value in (*ATTRIBUTES[name], "cannot tell", None)
            assert value in (world.people[picture.identity][name], "cannot tell", None)


def test_the_command_line_draws_a_sheet_and_reports_errors_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sheet", str(tmp_path / "sheet.png"), "--people", "1", "--views", "2"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 130, 402)
    capsys.readouterr()
    assert main(["world", str(tmp_path / "w"), "--pictures", "99"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("demo.pedestrians: pictures of a person must be") and error.count("\n") == 1
