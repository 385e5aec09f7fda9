"""`ctgi evaluate` and the calibration of `export`, on a set where the right answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ctgi.cli.main import main
from ctgi.datasets.annotations import read_dataset
from ctgi.datasets.splits import hold_out
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
    rounds = figures["interactive"]
    assert [hits["value"] for hits in rounds["hits"]] == [100.0, 100.0]
    assert [recall["value"] for recall in rounds["recall"]] == [100.0, 100.0]
    assert rounds["bri"]["value"] == 0.0
    assert figures["settings"]["xi"] == 2.0 and "a query: " in capsys.readouterr().out
    asked = sum(chat.asked.values())
    run("evaluate", dataset, *flags)
    assert sum(chat.asked.values()) == asked


def test_with_dossiers_mti_is_measured_without_a_call(
    dataset: Path, release: Path, chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "gallery"
    words = ["index", str(dataset / "imgs"), "--release", str(release), "--out", str(gallery), "--dossiers"]
    assert main([*words, "--server", chat.url, "--model", "m"]) == 0
    asked = sum(chat.asked.values())
    figures = run("evaluate", dataset, "--release", str(release), "--dossiers", str(gallery))
    assert sum(chat.asked.values()) == asked and figures["settings"]["judge"] == "dossier"
    assert figures["effort"]["calls"] == 0 and figures["mti"]["R@1"]["value"] == pytest.approx(100.0)
    missing = tmp_path / "other"
    words[1], words[5] = str(dataset.parent / "imgs"), str(missing)
    (dataset.parent / "imgs").mkdir()
    (dataset.parent / "imgs" / "a.png").write_bytes((dataset / "imgs" / "val_red_0.png").read_bytes())
    assert main([*words, "--server", chat.url, "--model", "m"]) == 0
    capsys.readouterr()
    flags = ["--layout", "rstpreid", "--release", str(release), "--dossiers", str(missing)]
    assert main(["evaluate", str(dataset), *flags]) == 2
    assert "8 of 8 pictures of the test split have no dossier" in capsys.readouterr().err


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
    assert (figures["pictures"], figures["people"], figures["captions"]) == (8, 4, 24)
    assert "8 pictures of 4 people, 24 captions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judge", "dossier"], "name their dossiers with --dossiers"),
        (["--lam", "0.4"], "--lam is for MTI"),
        (["--judge", "soft"], "--judge soft asks a chat model"),
        (["--server", "http://x/v1", "--model", "m", "--lam", "7"], "MTI's lam is 7.0"),
        (["--server", "http://x/v1", "--model", "m", "--deadline", "0"], "MTI's deadline is 0.0"),
        (["--dossiers", "nothere"], "nothere: no such file or folder"),
        (["--reconstructor-model", "foo"], "--reconstructor-model foo needs a server"),
        (["--json", "."], "--json .: is a folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_embedded(
    words: list[str], said: str, dataset: Path, release: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it was embedded")

    monkeypatch.setattr("ctgi.evaluation.protocol.embed_split", never)
    given = ["evaluate", str(dataset), "--layout", "rstpreid", "--release", str(release)]
    assert main([*given, *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_the_result_names_the_data_sets_of_training_and_of_measuring(
    dataset: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run("evaluate", dataset, "--release", str(release))
    assert (figures["dataset"], figures["layout"], figures["split"]) == ("rstp", "rstpreid", "test")
    assert figures["people"] == 4 and figures["published_split"] is False
    assert figures["model"]["trained_on"] is None and figures["across_datasets"] is None
    out = capsys.readouterr().out
    assert "trained on: not said" in out and "not the whole published test split of RSTPReid" in out
    figures = run("evaluate", dataset, "--release", str(release), "--trained-on", "CUHK-PEDES")
    assert figures["model"]["trained_on"] == "CUHK-PEDES" and figures["across_datasets"] is True
    assert "trained on CUHK-PEDES: across data sets" in capsys.readouterr().out
    said = {"lineage": {"trained_on": "rstpreid", "selected_on": "test"}}
    (release / "release.json").write_text(json.dumps(said), encoding="utf-8")
    figures = run("evaluate", dataset, "--release", str(release), "--trained-on", "RSTPReid")
    assert figures["across_datasets"] is False and figures["model"]["selected_on"] == "test"
    assert "chosen on test" in capsys.readouterr().out
    words = ["evaluate", str(dataset), "--layout", "rstpreid", "--release", str(release)]
    assert main([*words, "--trained-on", "icfg-pedes"]) == 2
    assert "the model says that it was trained on rstpreid" in capsys.readouterr().err


def test_a_set_without_val_is_measured_on_the_people_that_training_holds_out(
    dataset: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = json.loads((dataset / "data_captions.json").read_text(encoding="utf-8"))
    icfg = [
        {**{key: value for key, value in entry.items() if key != "img_path"}, "file_path": entry["img_path"]}
        for entry in entries
        if entry["split"] != "val"
    ]
    (dataset / "ICFG_PEDES.json").write_text(json.dumps(icfg), encoding="utf-8")
    words = ["evaluate", str(dataset), "--layout", "icfg-pedes", "--release", str(release), "--split", "val"]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "its val split is empty; choose --split train or test, or --hold-out 0.1" in err
    file = dataset / "figures.json"
    assert main([*words, "--hold-out", "0.5", "--json", str(file)]) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert (figures["people"], figures["pictures"], figures["queries"]) == (2, 4, 12)
    kept = hold_out(read_dataset(dataset, "icfg-pedes").train, 0.5, seed=0)[1]
    assert len({sample.identity for sample in kept}) == 2
    assert main([*words[:-1], "test", "--hold-out", "0.5"]) == 2
    assert "stands in for a missing val split" in capsys.readouterr().err


def test_damaged_captions_are_told_in_one_line(
    dataset: Path, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataset / "data_captions.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    entries[-1]["captions"] += ["", "A person in white 衣服."]
    file.write_text(json.dumps(entries), encoding="utf-8")
    figures = run("evaluate", dataset, "--release", str(release))
    assert figures["queries"] == 25
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "1 without words (left out), 1 with another script" in err


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
