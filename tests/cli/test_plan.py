from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from ctgi.captioning.transcript import Transcript, write_transcript
from ctgi.cli.main import main

SCALING = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


def record(number: int) -> Transcript:
    whole = Transcript("", "a.png", None, "T_s", "T_e", (), "m", "v", "r", 7, 1000, 50, 1.0)
    return replace(whole, picture_id=f"{number:064x}", prompt_tokens=1000 + 200 * number)


def test_the_three_sizes_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 0
    shown = capsys.readouterr().out
    for count in ("40,000", "4,000,000", "400,000,000"):
        assert shown.count(f"\n{count:>11} ") == 4  # three numbers of replicas, and the storage
    assert "cost" not in shown


def test_prices_add_columns_and_json_has_every_figure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [
        "plan",
        "--pictures",
        "40k",
        "--replicas",
        "2,4",
        "--pictures-per-second",
        "4",
        "--gpu-hour-price",
        "2",
    ]
    words += ["--reconstructor-price-prompt", "2.5", "--storage-price", "0.02"]
    assert main([*words, "--json", str(tmp_path / "plan.json")]) == 0
    shown = capsys.readouterr().out
    assert "GPU cost" in shown and "a month" in shown and "reconstructor: 1 call" in shown
    found = json.loads((tmp_path / "plan.json").read_text())
    assert [run["replicas"] for run in found["runs"]] == [2, 4]
    first = found["runs"][0]
    assert first["seconds"] == pytest.approx(40_000 / (2 * 4 * 0.95) + 300)
    assert first["cost"] == pytest.approx(first["gpu_hours"] * 2 + first["reconstructor_cost"])
    assert found["pictures_per_second_per_replica"] == 4
    assert found["storage_bytes"]["40000"]["vectors"] == 40_000 * 2048


def test_records_of_a_run_are_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "interviews").mkdir()
    for number in range(3):
        write_transcript(tmp_path / "interviews", record(number))
    assert main(["plan", "--captions", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1,200 tokens sent" in shown and "50 written (measured over 3 records)" in shown


def test_settings_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("plan:\n  pictures: 1000\n  replicas: 1,2\n  size: 64x128\n")
    assert main(["plan", "--config", str(tmp_path / "plan.yaml")]) == 0
    assert capsys.readouterr().out.count("\n   1,000  ") == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pictures", "0"], "give whole numbers from 1"),
        (["--pictures", "40k,,4M"], "no number"),
        (["--pictures", "1.5"], "give whole numbers from 1"),
        (["--pictures", "1e40"], "give whole numbers from 1"),
        (["--replicas", "-3"], "give whole numbers from 1"),
        (["--size", "128"], "width and height"),
        (["--size", "0x4"], "width and height"),
        (["--pictures-per-second", "0"], "from 0.000001"),
        (["--gpu-hour-price", "-1"], "from 0 to"),
        (["--storage-price", "inf"], "no number"),
        (["--captions", "nowhere"], "nowhere: no interviews there"),
    ],
)
def test_bad_numbers_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_the_tables_of_the_scaling_page_are_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = SCALING.read_text(encoding="utf-8")
    blocks = re.findall(r"```\n\$ ctgi (plan(?:[^\n]*\\\n)*[^\n]*)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 2
    for command, printed in blocks:
        assert main(shlex.split(command.replace("\\\n", " "))) == 0
        assert capsys.readouterr().out == printed
