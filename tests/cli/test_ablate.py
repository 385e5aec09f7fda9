"""`ctgi ablate` with real training: four tiny models, two rows each, and nothing done twice."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli import cells
from ctgi.cli.main import main

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 64, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def words(dataset: Path, chat: Any, tmp_path: Path) -> list[str]:
    """Everything that an ablation needs, with pseudo-captions of the data set's training pictures."""
    captions = tmp_path / "captions"
    asking = ["caption", str(dataset), "--layout", "rstpreid", "--out", str(captions), "--server", chat.url]
    assert main([*asking, "--model", "m", "--rounds", "2"]) == 0
    training = tmp_path / "short.yaml"
    training.write_text("train: {epochs: 1, batch-size: 4, device: cpu}\n", encoding="utf-8")
    return ["ablate", str(dataset), "--layout", "rstpreid", "--out", str(tmp_path / "out"),
            "--captions", str(captions / "captions.parquet"), "--pictures", str(dataset / "imgs"),
            "--encoder", str(tmp_path / "clip"), "--training", str(training), "--queries", "4",
            "--xi", "2", "--wave", "1"]  # fmt: skip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    import torch

    from ctgi.encoders.loading import load_encoder, save_checkpoint

    torch.manual_seed(0)
    save_checkpoint(load_encoder(CONFIG, None), tmp_path / "clip")
    return tmp_path / "clip"


def test_dry_run_shows_the_matrix_and_what_trains_each_cell(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text("{}", encoding="utf-8")
    figures = tmp_path / "plan.json"
    chosen = ["--models", "irra", "rde", "irra", "--dry-run", "--json", str(figures)]
    assert main([*words, *chosen]) == 0
    plan = json.loads(figures.read_text(encoding="utf-8"))
    assert [cell["cell"] for cell in plan["cells"]] == [
        f"{backbone}-{text}-{positions}"
        for backbone in ("irra", "rde")
        for positions in (77, 248)
        for text in ("ts", "te")
    ]
    # 8 pictures in batches of 4, one epoch, 8 cells; 4 queries of K = 20 judgements in each.
    assert plan["training_steps"] == 8 * 2 and plan["calls"]["judge"] == 8 * 4 * 20
    command = shlex.split(plan["cells"][3]["command"])
    assert command[:2] == ["ctgi", "train"] and "--text" in command
    assert command[command.index("--text") + 1] == "caption" and command[-1].endswith("runs/irra-te-248")
    assert not (tmp_path / "out").exists() and "8 cells, 8 to train: 16 steps" in capsys.readouterr().out


def test_what_is_missing_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for flag, said in (("--captions", "no captions were named"), ("--encoder", "no encoder was named")):
        at = words.index(flag)
        assert main(words[:at] + words[at + 2 :]) == 2
        assert said in capsys.readouterr().err
    at = words.index("--captions") + 1
    assert main([*words[:at], "nowhere.parquet", *words[at + 1 :], "--dry-run"]) == 2
    err = capsys.readouterr().err
    assert "nowhere.parquet" in err and err.count("\n") == 1
    assert main([*words, "--dry-run"]) == 2  # --encoder names nothing that is there
    err = capsys.readouterr().err
    assert "no checkpoint folder; a model's name needs --weights" in err and err.count("\n") == 1


@pytest.mark.slow
def test_the_matrix_is_trained_measured_and_written_once(
    words: list[str], clip: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    words = [*words, "--models", "sdm", "--server", chat.url, "--model", "m"]
    trained: list[str] = []
    real = cells.train_command.run

    def counted(options: Any) -> int:
        if len(trained) == 2 and not (out / "table.md").exists() and "again" not in trained:
            trained.append("again")
            raise KeyboardInterrupt
        trained.append(options.out.name)
        return real(options)

    monkeypatch.setattr(cells.train_command, "run", counted)
    assert main(words) == 130  # interrupted before the third cell
    assert main([*words, "--json", str(tmp_path / "f.json")]) == 0
    assert trained == ["sdm-ts-77", "sdm-te-77", "again", "sdm-ts-248", "sdm-te-248"]
    table = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert [(row["mtg"], row["mti"], row["pes"]) for row in table["rows"]] == [
        (mtg, mti, pes) for pes in (False, True) for mtg in (False, True) for mti in (False, True)
    ]
    assert all(row["paper"] is None for row in table["rows"])  # the paper has no SDM alone
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.count("| CTGI (SDM) |") == 8 and "not the whole published split" in text
    assert "48.03 and 49.66 in its Table 4" in text
    assert r"\toprule" in (out / "table.tex").read_text(encoding="utf-8")
    rows = sorted(path.name for path in (out / "rows").iterdir())
    assert len(rows) == 8 and len(list((out / "cells").iterdir())) == 4
    measured = json.loads((out / "rows" / rows[0]).read_text(encoding="utf-8"))
    assert measured["interactive"]["bri"]["value"] >= 0 and "calibration" in measured["scale"]
    asked = sum(chat.asked.values())

    capsys.readouterr()
    assert main(words) == 0  # nothing is trained, measured or asked again
    assert len(trained) == 5 and sum(chat.asked.values()) == asked
    assert sorted(path.name for path in (out / "rows").iterdir()) == rows
    assert "4 cells, 0 to train" in _said(main([*words, "--dry-run"]), capsys)
    assert main([*words, "--lam", "0.5"]) == 0  # another λ: four rows more, no question more
    assert len(list((out / "rows").iterdir())) == 12 and sum(chat.asked.values()) == asked
    (out / "runs" / "sdm-te-77" / "best" / "model.safetensors").write_bytes(b"")
    assert "4 cells, 1 to train" in _said(main([*words, "--dry-run"]), capsys)


def _said(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert code == 0
    return capsys.readouterr().out
