"""Parameters are checked as a whole before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctgi.errors import CtgiError
from pipelines.catalog import Parameter
from pipelines.parameters import check, read

KNOWN = (
    Parameter("pictures", str, None),
    Parameter("rounds", int, 6),
    Parameter("floor", float, 0.0),
    Parameter("training", dict, {}),
    Parameter("data", str, ""),
    Parameter("layout", str, ""),
)
GIVEN = ["pictures=/data/photos"]


def test_the_file_is_under_the_flags_and_a_section_belongs_to_its_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "pictures: /a\nrounds: 3\nctgi_train: {rounds: 4, floor: 10}\nctgi_gallery: {x: 1}\n",
        encoding="utf-8",
    )
    assert read("ctgi_train", KNOWN, file, []) == {
        "pictures": "/a", "rounds": 4, "floor": 10.0, "training": {}, "data": "", "layout": ""
    }  # fmt: skip
    assert read("ctgi_train", KNOWN, file, ["rounds=5"])["rounds"] == 5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["rounds=5"], "needs pictures"),
        ([*GIVEN, "round=5"], "did you mean rounds"),
        ([*GIVEN, "rounds=many"], "type int"),
        ([*GIVEN, "rounds=0"], "1 to 50"),
        ([*GIVEN, "rounds"], "NAME=VALUE"),
        ([*GIVEN, "floor=200"], "0 to 100"),
        (["pictures=photos"], "absolute path"),
        ([*GIVEN, "data=/d"], "layout is missing"),
        ([*GIVEN, "training=[1]"], "type dict"),
        ([*GIVEN, 'training={"epoch": 3}'], "did you mean epochs"),
        ([*GIVEN, 'training={"out": "/elsewhere"}'], "set by the pipeline"),
        ([*GIVEN, 'training={"epochs": "many"}'], "parameter training"),
    ],
)
def test_what_is_wrong_is_named(given: list[str], said: str) -> None:
    with pytest.raises(CtgiError, match=said):
        read("ctgi_train", KNOWN, None, given)


def test_training_takes_the_flags_of_ctgi_train() -> None:
    values = read("ctgi_train", KNOWN, None, [*GIVEN, 'training={"epochs": 3, "batch-size": 8}'])
    assert values["training"] == {"epochs": 3, "batch-size": 8}


@pytest.mark.parametrize(
    "values",
    [
        {"server": "http://user:secret@host/v1", "model": "m"},
        {"server": "ftp://host", "model": "m"},
        {"store": "s3://key:secret@bucket/x"},
        {"store": "http://host"},
        {"release": "../up"},
        {"release": ""},
        {"work": "work"},
    ],
)
def test_values_that_are_not_allowed(values: dict[str, Any]) -> None:
    with pytest.raises(CtgiError) as error:
        check(values)
    assert "secret@" not in str(error.value)


def test_a_file_that_is_none_or_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="none.yaml"):
        read("ctgi_train", KNOWN, tmp_path / "none.yaml", GIVEN)
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(CtgiError, match="not a mapping"):
        read("ctgi_train", KNOWN, tmp_path / "list.yaml", GIVEN)
