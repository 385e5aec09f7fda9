"""`ctgi evaluate`, `ablate` and the calibration of `export`, on a set where the right answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.export.release import Release
from ctgi.interaction.calibration import Calibration


def run(command: str, dataset: Path, *words: str) -> dict[str, Any]:
    figures = dataset.parent / f"{command}.json"
    assert main([command, str(dataset), "--layout", "rstpreid", "--json", str(figures), *words]) == 0
    written: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
    return written


def test_a_model_that_sees_everything_has_full_marks(
    dataset: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run("evaluate", dataset, "--release", str(release))
    assert (figures["queries"], figures["pictures"], figures["excluded"]) == (24, 8, 0)
    for name in ("R@1", "R@5", "R@10", "mAP", "mINP"):
        assert figures["plain"][name]["value"] == pytest.approx(100.0)
    out = capsys.readouterr().out
    assert "without MTI" in out and "with MTI" not in out.replace("without MTI", "")


def test_with_a_chat_model_mti_is_measured_on_the_same_queries(
    dataset: Path, release: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--release", str(release), "--server", chat.url, "--model", "m", "--queries", "8", "--xi", "2",
             "--wave", "1", "--cache", str(tmp_path / "replies.sqlite")]  # fmt: skip
    figures = run("evaluate", dataset, *flags)
    assert figures["queries"] == figures["effort"]["queries"] == 8
    assert figures["mti"]["R@1"]["value"] == pytest.approx(100.0) and figures["gain"]["R@1"]["value"] == 0.0
    assert figures["effort"]["stopped"] == {"refined": 8}
    assert figures["settings"]["xi"] == 2.0 and "a query: " in capsys.readouterr().out
    asked = sum(chat.asked.values())
    run("evaluate", dataset, *flags)
    assert sum(chat.asked.values()) == asked


def test_a_chat_model_that_answers_nothing_makes_no_table(
    dataset: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(dataset), "--layout", "rstpreid", "--release", str(release), "--queries", "4",
             "--server", "http://127.0.0.1:9/v1", "--model", "m", "--retries", "0"]  # fmt: skip
    assert main(words) == 2
    assert "answered none of 4 searches" in capsys.readouterr().err


def test_dry_run_counts_calls(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run("evaluate", dataset, "--dry-run", "--queries", "10", "--k", "5", "--max-questions", "3")
    assert figures["calls"] == {"judge": 50, "answer": 30} and figures["cost"] is None
    figures = run("evaluate", dataset, "--dry-run", "--price-completion", "1000000")
    assert figures["calls"]["judge"] == 24 * 20 and figures["cost"] == figures["completion_tokens"]


def test_the_ablation_is_written_in_three_forms_and_measured_once(
    dataset: Path, release: Path, chat: Any, tmp_path: Path
) -> None:
    out = tmp_path / "ablation"
    flags = ["--out", str(out), "--without-mtg", str(release), "--with-mtg-pes", str(release),
             "--queries", "4", "--server", chat.url, "--model", "m", "--xi", "2",
             "--wave", "1"]  # fmt: skip
    table = run("ablate", dataset, *flags)
    assert [(r["mtg"], r["mti"], r["pes"]) for r in table["rows"]] == [
        (False, False, False), (False, True, False), (True, False, True), (True, True, True)
    ]  # fmt: skip
    assert "| CTGI | ✓ | ✓ | ✓ |" in (out / "table.md").read_text(encoding="utf-8")
    assert r"\toprule" in (out / "table.tex").read_text(encoding="utf-8")
    asked = sum(chat.asked.values())
    assert asked > 0 and run("ablate", dataset, *flags)["rows"] == table["rows"]
    assert sum(chat.asked.values()) == asked  # rows that are there are not measured again
    rows = set((out / "rows").iterdir())
    run("ablate", dataset, *flags, "--lam", "0.5")
    assert len(set((out / "rows").iterdir()) - rows) == 2  # the rows with MTI
    assert sum(chat.asked.values()) == asked  # another λ asks nothing that was not asked before


def test_the_similarity_scale_is_fitted_on_val_and_kept(
    dataset: Path, release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr("ctgi.export.release.record_mti", lambda folder, facts: kept.update(facts))
    stand_in = Release("toy", "1", "f" * 64, 5, 77)
    monkeypatch.setattr("ctgi.export.release.Release.load", lambda *_, **__: stand_in)
    words = ["export", "--out", str(release), "--calibrate", str(dataset), "--layout", "rstpreid"]
    assert main(words) == 0
    assert kept["calibration"]["queries"] == 24 and kept["calibration"]["fitted_on"] == "val"
    assert "fitted on 24 val queries" in capsys.readouterr().out
    assert Calibration.of(kept["calibration"])(0.99) > 0.9  # every val query was right
