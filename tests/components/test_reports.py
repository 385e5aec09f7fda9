"""What people are shown, and what decides: charts, tables, the gate, the state of a run."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl

from components import page
from components.gate import decide
from components.publish import compared
from components.report_state import tell
from components.train import _whole
from ctgi.errors import CtgiError
from ctgi.evaluation.metrics import Evaluation

EVIL = '<script>alert(1)</script> | **bold** [x](http://y) "quoted"\n# heading'


def shapes(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(tag))


def test_lines_and_bars_are_where_the_values_are() -> None:
    svg = page.lines({"loss": [4.0, 2.0, 0.0]}, "epoch")
    heights = [float(dot.attrib["cy"]) for dot in shapes(svg, "circle")]
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    rows = {"a": {"R@1": (20.0, 10.0, 30.0)}, "b": {"R@1": (40.0, 30.0, 50.0)}}
    drawn = [float(bar.attrib["height"]) for bar in shapes(page.bars(rows), "rect") if "x" in bar.attrib][-4:]
    first, second = sorted(height for height in drawn if height != 10)
    assert second == pytest.approx(2 * first, abs=0.2)


@pytest.mark.parametrize("points", [[], [1.0], [2.0, 2.0], [-1.0, -3.0]])
def test_few_and_odd_values_are_drawn(points: list[float]) -> None:
    drawn = page.lines({"loss": points}, "epoch")
    assert "nan" not in drawn and (not points or len(shapes(drawn, "circle")) == len(points))


def test_text_of_users_and_models_is_never_markup() -> None:
    table = page.table([{"picture": EVIL, "n": 1.5}])
    assert "<script" not in table and "**" not in table and "](" not in table
    assert table.count("\n") == 3 and table.splitlines()[2].count("|") == 3
    whole = page.page(EVIL, page.heading(EVIL), page.lines({EVIL: [1.0]}, EVIL), page.picture(b"x", EVIL))
    assert "<script" not in whole and 'alt="&lt;script' in whole


def evaluation(ranks: list[int]) -> Evaluation:
    count = len(ranks)
    first = np.array(ranks)
    return Evaluation(
        np.arange(count), np.arange(count), first, 1.0 / first, 1.0 / first, excluded=0, gallery=10
    )


def judged(tmp_path: Path, trained: list[int], serving: list[int] | None, **rules: Any) -> str:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for name, ranks in {"trained": trained, "serving": serving}.items():
        if ranks is not None:
            np.savez(folder / f"{name}.npz", **vars(evaluation(ranks)))
    (folder / "about.json").write_text('{"where": "a test"}', encoding="utf-8")
    given = {"metric": "R@1", "floor": 0.0, "min_gain": 0.0, **rules}
    return decide(str(folder), str(tmp_path / "report"), **given)[0]


@pytest.mark.parametrize(
    ("trained", "serving", "rules", "decision"),
    [
        ([1, 1, 2, 2], None, {}, "pass"),
        ([1, 1, 2, 2], None, {"floor": 50.0}, "pass"),
        ([1, 1, 2, 2], None, {"floor": 50.1}, "keep"),
        ([1, 1, 2, 2], [1, 2, 2, 2], {}, "pass"),
        ([1, 1, 2, 2], [2, 1, 1, 2], {}, "pass"),
        ([1, 2, 2, 2], [1, 1, 2, 2], {}, "keep"),
        ([1, 2, 2, 2], [1, 1, 2, 2], {"min_gain": -25.0}, "pass"),
        ([1, 1, 2, 2], [1, 2, 2, 2], {"min_gain": 25.1}, "keep"),
        ([1, 1, 1, 1], [2, 2, 2, 2], {"floor": 100.0}, "pass"),
    ],
)
def test_the_gate(
    tmp_path: Path, trained: list[int], serving: list[int] | None, rules: dict[str, float], decision: str
) -> None:
    assert judged(tmp_path, trained, serving, **rules) == decision
    assert f"decision: {decision}" in (tmp_path / "report").read_text(encoding="utf-8")


def test_the_gate_refuses_models_that_answered_different_queries(tmp_path: Path) -> None:
    with pytest.raises(CtgiError, match="different queries"):
        judged(tmp_path, [1, 1], [1, 1, 1])
    with pytest.raises(CtgiError, match="R@2"):
        decide(str(tmp_path), str(tmp_path / "report"), "R@2", 0.0, 0.0)


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[bytes], list[int]]]:
    """Where a run's end is posted to: what it heard, and the answers that it gives before it is content."""
    heard: list[bytes] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("CTGI_NOTIFY_URL", f"http://127.0.0.1:{server.server_address[1]}/secret-path")
    monkeypatch.setattr("components.report_state.PAUSES", (0, 0, 0))
    yield heard, answers
    server.shutdown()
    server.server_close()


FAILED = {"state": "FAILED", "failed": "caption", "run": "r"}


@pytest.mark.parametrize(("answers", "times"), [([], 1), ([503, 507], 3), ([507] * 3, 3)])
def test_a_runs_state_is_kept_and_told_and_a_full_mailbox_changes_nothing(
    mailbox: tuple[list[bytes], list[int]],
    answers: list[int],
    times: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mailbox[1].extend(answers)
    tell(FAILED, "ctgi_train", str(tmp_path), str(tmp_path / "m"))
    [kept] = [json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "runs").iterdir()]
    assert kept["state"] == "FAILED"
    assert len(mailbox[0]) == times and all(json.loads(one) == kept for one in mailbox[0])
    said = capsys.readouterr().out
    assert said.count("could not be reported") == len(answers) and "secret-path" not in said


def test_a_run_that_lost_its_workspace_is_still_told(
    mailbox: tuple[list[bytes], list[int]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((CtgiError, OSError)):
        tell(FAILED, "ctgi_train", str(tmp_path / "file"), str(tmp_path / "m"))
    assert len(mailbox[0]) == 1 and (tmp_path / "m").is_file()


def test_whole_numbers_come_back_whole() -> None:
    assert _whole({"epochs": 2.0, "base-lr": 1e-4, "device": "cpu", "no-augment": True}) == {
        "epochs": 2, "base-lr": 1e-4, "device": "cpu", "no-augment": True
    }  # fmt: skip


def test_only_what_was_compared_with_its_model_is_published(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    for said in (None, "{}"):
        if said:
            file.write_text(said, encoding="utf-8")
        with pytest.raises(CtgiError, match="run verify_parity"):
            compared(dsl.Metrics(uri=str(file), metadata={}))
    file.write_text('{"rank_agreement": 1.0}', encoding="utf-8")
    assert compared(dsl.Metrics(uri=str(file), metadata={})) == {"rank_agreement": 1.0}
    assert compared(dsl.Metrics(uri="/none", metadata={"rank_agreement": 0.5})) == {"rank_agreement": 0.5}
