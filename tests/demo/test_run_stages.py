"""A stage is done once, goes on after an interruption, and begins anew where its inputs changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctgi.errors import CtgiError
from demo.stages import Stages, digest_model


class Work:
    """Writes a file, and counts how often it was called and what it found on arrival."""

    def __init__(self, text: str = "done", fail: bool = False) -> None:
        self.text, self.fail = text, fail
        self.calls = 0
        self.found: list[str] = []

    def __call__(self, place: Path) -> dict[str, object]:
        self.calls += 1
        self.found = sorted(path.name for path in place.iterdir())
        (place / "half").write_text("half")
        if self.fail:
            raise KeyboardInterrupt
        (place / "file").write_text(self.text)
        return {"answer": 42}


def stage(out: Path, work: Work, said: list[str] | None = None, **inputs: object):
    stages = Stages(out, 1, (said if said is not None else []).append)
    return stages.run("thing", "make a thing", inputs, work, folder="thing", outputs=("file",))


def test_a_stage_is_done_once(tmp_path: Path) -> None:
    work, said = Work(), []
    first = stage(tmp_path, work, said, seed=1)
    second = stage(tmp_path, work, said, seed=1)
    assert work.calls == 1
    assert second == first and second.result == {"answer": 42}
    assert "done before" in said[-1]


def test_other_inputs_begin_anew(tmp_path: Path) -> None:
    first = stage(tmp_path, Work(), seed=1)
    work = Work("other")
    second = stage(tmp_path, work, seed=2)
    assert work.calls == 1 and work.found == []
    assert second.digest != first.digest


def test_an_interrupted_stage_goes_on_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, Work(fail=True), seed=1)
    work, said = Work(), []
    record = stage(tmp_path, work, said, seed=1)
    assert work.found == ["half"]
    assert record.done and record.sittings == 2 and "going on" in said[0]


def test_a_stage_killed_without_a_word_goes_on_too(tmp_path: Path) -> None:
    stage(tmp_path, Work(), seed=1)
    file = tmp_path / "records" / "thing.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "done": False}))  # as kill -9 leaves it
    work = Work()
    stage(tmp_path, work, seed=1)
    assert work.found == ["file", "half"]


@pytest.mark.parametrize("harm", ["changed", "removed"])
def test_files_that_are_not_those_it_left_are_made_again(tmp_path: Path, harm: str) -> None:
    stage(tmp_path, Work(), seed=1)
    file = tmp_path / "thing" / "file"
    file.write_text("tampered") if harm == "changed" else file.unlink()
    work = Work()
    stage(tmp_path, work, seed=1)
    assert work.calls == 1 and file.read_text() == "done"


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "diary").write_text("mine")
    with pytest.raises(CtgiError, match="no record of"):
        stage(tmp_path, Work(), seed=1)
    assert (tmp_path / "thing" / "diary").read_text() == "mine"


def test_an_output_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    stages = Stages(tmp_path, 1, lambda line: None)
    with pytest.raises(CtgiError, match="has not written"):
        stages.run("thing", "t", {}, lambda place: {}, folder="thing", outputs=("file",))


def test_a_models_digest_is_of_its_weights(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="no model there"):
        digest_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = digest_model(tmp_path)
    (tmp_path / "README.md").write_text("a card changes nothing")
    assert digest_model(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert digest_model(tmp_path) != first
