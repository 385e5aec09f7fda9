"""`ctgi train`: which captions, which validation set, which encoder; the engine has its own tests."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctgi.cli.main import main


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the engine is called with."""
    calls: list[SimpleNamespace] = []

    def engine(settings: Any, samples: Any, val: Any, encoder: Any, out: Path) -> SimpleNamespace:
        calls.append(SimpleNamespace(settings=settings, samples=samples, val=val, encoder=encoder, out=out))
        return SimpleNamespace(
            metrics={"R@1": 50.0}, seconds=1.0, best_epoch=1, best=out / "best", history=()
        )

    monkeypatch.setattr("ctgi.training.engine.train", engine)
    monkeypatch.setattr(
        "ctgi.encoders.loading.load_checkpoint", lambda folder, context: (Path(folder), context)
    )
    return calls


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path / "clip"


@pytest.fixture
def captions(dataset: Path, tmp_path: Path, chat: Any) -> Path:
    out = tmp_path / "captions"
    words = ["caption", str(dataset), "--layout", "rstpreid", "--out", str(out), "--server", chat.url]
    assert main([*words, "--model", "m", "--rounds", "3"]) == 0
    return out / "captions.parquet"


def test_pseudo_captions_with_a_data_sets_val(
    captions: Path, dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path
) -> None:
    words = ["train", str(captions), "--pictures", str(dataset / "imgs"), "--val", str(dataset), "--layout",
             "rstpreid", "--encoder", str(clip), "--out", str(tmp_path / "run"), "--epochs", "3"]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    assert len(call.samples) == 8 and {s.picture.name.split("_")[0] for s in call.samples} == {"train"}
    assert {s.picture.name.split("_")[0] for s in call.val} == {"val"}
    assert call.settings.epochs == 3 and call.settings.augment and call.encoder == (clip, 248)
    assert main([*words, "--text", "static_caption", "--context", "77"]) == 0
    assert trained[1].encoder == (clip, 77)
    assert all(
        len(a.captions[0]) < len(b.captions[0]) for a, b in zip(trained[1].samples, call.samples, strict=True)
    )


def test_without_a_val_split_training_identities_are_held_out(
    captions: Path, dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path, capsys: Any
) -> None:
    words = ["train", str(captions), "--pictures", str(dataset / "imgs"), "--encoder", str(clip), "--out",
             str(tmp_path / "run"), "--hold-out", "0.25"]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    assert len(call.samples) == 6 and len(call.val) == 2 and "held out" in capsys.readouterr().out
    assert not {s.picture for s in call.samples} & {s.picture for s in call.val}


def test_a_data_sets_own_captions(
    dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path
) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text("train: {epochs: 5, base-lr: 1e-4, no-augment: true}\n", encoding="utf-8")
    figures = tmp_path / "f.json"
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--config", str(settings),
             "--out", str(tmp_path / "run"), "--epochs", "4", "--json", str(figures)]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    assert len(call.samples) == 8 and len(call.samples[0].captions) == 3 and len(call.val) == 8
    assert (call.settings.epochs, call.settings.base_lr, call.settings.augment) == (4, 1e-4, False)
    assert json.loads(figures.read_text(encoding="utf-8"))["captions"] == 24


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["c.parquet", "--encoder", "e"], "--pictures"),
        (["c.parquet", "--encoder", "e", "--pictures", "p"], "c.parquet"),
        (["c.parquet", "--encoder", "e", "--pictures", "p", "--lr-step", "day"], "lr_step"),
    ],
)
def test_what_is_missing_is_named(words: list[str], said: str, capsys: Any, tmp_path: Path) -> None:
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
