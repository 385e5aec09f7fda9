"""`ctgi train`: which captions, which validation set, which encoder; the engine has its own tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.cli.train import LEARNING, LOSSES, MACHINE, SWITCHES
from ctgi.storage.alone import alone


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the engine is called with."""
    calls: list[SimpleNamespace] = []

    def engine(
        settings: Any, samples: Any, val: Any, encoder: Any, out: Path, **more: Any
    ) -> SimpleNamespace:
        given = {"settings": settings, "samples": samples, "val": val, "encoder": encoder, "out": out}
        calls.append(SimpleNamespace(**given, **more))
        (out / "best").mkdir(parents=True, exist_ok=True)
        card = {"training set": "1", "validation set": "2", "initial weights": "3"}
        (out / "run.json").write_text(json.dumps(card), encoding="utf-8")
        history = ({},) * (settings.epochs - 1 if settings.patience else settings.epochs)
        return SimpleNamespace(
            metrics={"R@1": 50.0}, seconds=1.0, best_epoch=1, best=out / "best", history=history
        )

    monkeypatch.setattr("ctgi.training.engine.train", engine)
    build = "ctgi.training.objectives.build"
    monkeypatch.setattr(f"{build}.build_encoder", lambda name, encoder, config: encoder)
    monkeypatch.setattr(f"{build}.build_objective", lambda name, encoder, config, **sizes: (name, sizes))
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
    assert call.objective == ("irra", {"identities": 4, "pairs": 8})
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


def test_every_option_of_the_engine_has_its_flag(
    dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path
) -> None:
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--out",
             str(tmp_path / "run"), "--model", "rde", "--sampler", "identity", "--instances", "2",
             "--accumulation", "4", "--recompute", "--tensorboard", "--patience", "3", "--rde-new-lr", "2e-3",
             "--rde-consensus", "published", "--tal-tau", "0.02", "--precision", "bf16"]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    chosen = {
        "sampler": "identity", "instances": 2, "accumulation": 4, "recompute": True, "tensorboard": True,
        "patience": 3, "rde_new_lr": 2e-3, "rde_consensus": "published", "tal_tau": 0.02, "precision": "bf16",
    }  # fmt: skip
    assert {name: getattr(call.settings, name) for name in chosen} == chosen
    assert call.objective == ("rde", {"identities": 4, "pairs": 24})
    assert call.settings.select_on == "val"
    known = {field.name for field in dataclasses.fields(call.settings)}
    flags = {name.replace("-", "_") for name in {**LEARNING, **LOSSES, **MACHINE, **SWITCHES}}
    # The others have flags of another shape (--no-augment, --select-on-test), or are IRRA's constant.
    assert known - flags == {"augment", "select_on", "bias_lr_factor"}


def test_selection_on_test_is_said_and_marked(
    dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path, capsys: Any
) -> None:
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--out",
             str(tmp_path / "run"), "--select-on-test"]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    assert {s.picture.name.split("_")[0] for s in call.val} == {"test"}
    assert call.settings.select_on == "test"
    printed = capsys.readouterr()
    assert "warning: the epoch is chosen on the test split" in printed.err
    assert "on test: R@1 50.00 (chosen on it: no measurement)" in printed.out


def test_shards_are_written_checked_and_trained_on(
    dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path, capsys: Any
) -> None:
    shards = tmp_path / "shards"
    words = ["shards", str(dataset), "--layout", "rstpreid", "--out", str(shards), "--per-shard", "3"]
    assert main(words) == 0 and "8 pictures in 3 shards" in capsys.readouterr().out
    assert main(words) == 0  # finished: nothing is left to do
    assert main(["shards", "--check", str(shards)]) == 0 and "3 shards are" in capsys.readouterr().out
    words = ["train", str(shards), "--val", str(dataset), "--layout", "rstpreid", "--encoder", str(clip),
             "--out", str(tmp_path / "run"), "--shard-window", "2"]  # fmt: skip
    assert main(words) == 0
    [call] = trained
    assert len(call.samples) == 8 and len(call.val) == 8 and call.settings.shard_window == 2
    assert call.read(call.samples[3].picture).size == call.read(call.val[3].picture).size == (32, 96)
    (shards / "shard-000001.tar").write_bytes(b"short")
    assert main(words) == 2
    assert "shard-000001.tar: damaged shard" in capsys.readouterr().err
    assert (
        main(["shards", str(dataset), "--layout", "rstpreid", "--out", str(shards), "--per-shard", "0"]) == 2
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["c.parquet", "--encoder", "e"], "--pictures"),
        (["c.parquet", "--encoder", "e", "--pictures", "p"], "c.parquet"),
        (["c.parquet", "--encoder", "e", "--pictures", "p", "--lr-step", "day"], "lr_step"),
        (["c.parquet", "--encoder", "e", "--pictures", "p", "--rde-consensus", "loud"], "rde_consensus"),
        (["c.parquet", "--encoder", "e", "--pictures", "p", "--model", "blip"], "--model"),
    ],
)
def test_what_is_missing_is_named(words: list[str], said: str, capsys: Any, tmp_path: Path) -> None:
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_layout_of_nothing_is_not_passed_over(
    captions: Path, dataset: Path, clip: Path, trained: list[SimpleNamespace], tmp_path: Path, capsys: Any
) -> None:
    given = [str(captions), "--pictures", str(dataset / "imgs"), "--layout", "rstpreid"]
    words = ["train", *given, "--encoder", str(clip), "--out", str(tmp_path / "run")]
    assert main(words) == 2 and not trained
    assert "--layout rstpreid: is of a data set's folder, and" in capsys.readouterr().err
    assert main(["shards", *given, "--out", str(tmp_path / "shards")]) == 2
    assert "leave it out" in capsys.readouterr().err
    assert main([*words, "--val", str(dataset)]) == 0


def test_one_run_at_a_time_in_a_folder(
    dataset: Path,
    clip: Path,
    trained: list[SimpleNamespace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    said = "another run is at work there; wait for it or choose another --"
    out = tmp_path / "run"
    words = ["train", str(dataset), "--layout", "rstpreid", "--encoder", str(clip), "--out", str(out)]
    with alone(out, "--out"):
        assert main(words) == 2 and not trained
        assert f"{out}: {said}out" in capsys.readouterr().err
        monkeypatch.setenv("RANK", "1")  # a process of the run that holds the lock
        assert main(words) == 0 and len(trained) == 1
    monkeypatch.delenv("RANK")
    assert main(words) == 0
    shards, disk = tmp_path / "shards", tmp_path / "disk"
    words = ["shards", str(dataset), "--layout", "rstpreid", "--out", str(shards), "--disk", str(disk)]
    for held, flag in ((shards, "out"), (disk, "disk")):
        with alone(held, "--out"):
            assert main(words) == 2
            assert f"{held}: {said}{flag}" in capsys.readouterr().err
    assert main([*words, str(disk), str(shards)]) == 0  # one folder twice is no second run
