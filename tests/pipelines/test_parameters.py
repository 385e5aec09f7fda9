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
        (
            [*GIVEN, "training=[1]"],
            r'--set: training is .* a mapping; in JSON, such as training=\{"epochs": 1\}',
        ),
        ([*GIVEN, "training={epochs: 1}"], r'in JSON, such as training=\{"epochs": 1\}'),
        ([*GIVEN, 'training={"epoch": 3}'], "did you mean epochs"),
        ([*GIVEN, 'training={"out": "/elsewhere"}'], "set by the pipeline"),
        ([*GIVEN, 'training={"epochs": "many"}'], "parameter training"),
        ([*GIVEN, 'training={"epochs": 0}'], "training option epochs=0"),
        ([*GIVEN, 'training={"select": "R@2"}'], "select 'R@2'"),
        ([*GIVEN, 'training={"device": "tpu"}'], "device 'tpu'"),
        ([*GIVEN, 'training={"precision": "fp3"}'], "precision='fp3'"),
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
        {"version": "../x"},
        {"layout": "nonsense", "data": "/d"},
        {"pictures_layout": "nonsense"},
        {"pictures": "s3://bucket/set", "pictures_layout": "rstpreid"},
        {"encoder": "ViT-B-16-quickgelu", "weights": ""},
        {"encoder": "clip", "weights": ""},
        {"encoder": "/models/clip", "weights": "openai"},
        {"encoder": "", "weights": ""},
        {"reconstructor_server": "http://host/v1", "reconstructor_model": ""},
        {"dossiers": "http://host/v1", "model": ""},
    ],
)
def test_values_that_are_not_allowed(values: dict[str, Any]) -> None:
    with pytest.raises(CtgiError) as error:
        check(values)
    assert "secret@" not in str(error.value)


def test_values_that_are_fine() -> None:
    check({"encoder": "ViT-B-16-quickgelu", "weights": "openai", "version": "7", "pictures_layout": ""})
    check({"encoder": "/models/clip", "weights": "", "version": "", "data": "/d", "layout": "rstpreid"})
    check({"reconstructor_server": "", "reconstructor_model": "gpt-4o", "version": "pinned"})
    check({"training": {"device": "cuda:1", "precision": "bf16", "select": "mAP", "no-augment": True}})


def test_numbers_without_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("pictures: /a\nrounds: .inf\n", encoding="utf-8")
    with pytest.raises(CtgiError, match="rounds is inf"):
        read("ctgi_train", KNOWN, file, [])
    with pytest.raises(CtgiError, match="0 to 100"):
        read("ctgi_train", KNOWN, None, [*GIVEN, "floor=inf"])


def test_a_file_that_is_none_or_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="none.yaml"):
        read("ctgi_train", KNOWN, tmp_path / "none.yaml", GIVEN)
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(CtgiError, match="not a mapping"):
        read("ctgi_train", KNOWN, tmp_path / "list.yaml", GIVEN)
