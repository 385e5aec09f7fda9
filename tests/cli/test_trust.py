"""`ctgi train --trust`: which signals, for which captions, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from ctgi.cli.main import main
from ctgi.datasets.pseudo import read_pseudo_captions
from ctgi.encoders.loading import load_encoder, save_checkpoint

TINY: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 32, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    save_checkpoint(load_encoder(TINY, None), tmp_path / "clip", {})
    return tmp_path / "clip"


@pytest.fixture
def words(dataset: Path, clip: Path, tmp_path: Path, chat: Any) -> list[str]:
    captions = tmp_path / "captions"
    asked = ["caption", str(dataset), "--layout", "rstpreid", "--out", str(captions), "--server", chat.url]
    assert main([*asked, "--model", "m", "--rounds", "3"]) == 0
    sure_of(captions / "captions.parquet")
    return ["train", str(captions / "captions.parquet"), "--pictures", str(dataset / "imgs"), "--val",
            str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--context", "77", "--epochs", "1",
            "--batch-size", "4", "--device", "cpu", "--out", str(tmp_path / "run")]  # fmt: skip


def sure_of(parquet: Path) -> None:
    """Gives every answer a probability, which the tests' server does not."""
    table = pyarrow.parquet.read_table(parquet)
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        for pair in row["pairs"]:
            pair["probability"] = 0.9 - number / 20
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), parquet)


@pytest.mark.parametrize("model", ["irra", "rde"])
def test_all_signals_train_and_go_on(words: list[str], model: str, tmp_path: Path, capsys: Any) -> None:
    words += ["--model", model, "--trust", "loss,similarity,answers", "--trust-least", "0"]
    assert main(words) == 0
    assert "trust: answers finds" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "trust.json").read_text(encoding="utf-8"))
    assert len(found["similarity"]) == 8
    before = (tmp_path / "run" / "trust.json").stat().st_mtime_ns
    assert main(words) == 0  # finished: the similarity is not computed again
    assert (tmp_path / "run" / "trust.json").stat().st_mtime_ns == before
    capsys.readouterr()


def test_fixed_signals_become_the_engines_trust(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Any] = []

    class Stop(Exception):
        pass

    def engine(*arguments: Any, **named: Any) -> None:
        given.append(named["trust"])
        raise Stop

    monkeypatch.setattr("ctgi.training.engine.train", engine)
    for more in ([], ["--trust", "answers"], ["--trust", "similarity", "--trust-least", "0"]):
        with pytest.raises(Stop):
            main([*words, *more])
    nothing, answers, similarity = given
    assert nothing is None
    rows = read_pseudo_captions(words[1])
    assert len(answers) == len(similarity) == len(rows) and all(0 <= x <= 1 for x in answers + similarity)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trust", "hope"], "name one or more of answers, similarity, loss"),
        (["--trust", ","], "name one or more of answers, similarity, loss"),
        (["--trust", "answers", "--text", "static_caption"], "T_s was not made of answers"),
        (["--trust", "loss", "--rde-consensus", "published"], "--trust loss takes the place of"),
        (["--trust", "answers", "--trust-least", "1"], "--trust-least 1: give a probability"),
        (["--trust", "answers", "--trust-least", "nan"], "--trust-least nan: give a probability"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    words: list[str], more: list[str], said: str, capsys: Any
) -> None:
    capsys.readouterr()
    assert main([*words, *more]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_set_without_interviews_has_no_answers(
    dataset: Path, clip: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--out",
             str(tmp_path / "run"), "--trust", "answers"]  # fmt: skip
    assert main(words) == 2
    assert "holds no interviews" in capsys.readouterr().err


def test_captions_of_which_none_is_left_are_refused(words: list[str], capsys: Any) -> None:
    assert main([*words, "--trust", "answers", "--trust-least", "0.995"]) == 2
    assert "no caption is trusted" in capsys.readouterr().err
