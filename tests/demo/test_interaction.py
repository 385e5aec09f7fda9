"""The measurement's own logic: aims, tables, the document it fills, and conversations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ctgi.cli.figures import plain
from ctgi.evaluation.metrics import Evaluation
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.vocabulary import default_facets
from demo.interaction.__main__ import main
from demo.interaction.methods import BY_NAME, KINDS, METHODS
from demo.interaction.remembered import remembered
from demo.interaction.rounds import ROUNDS, compare_ways
from demo.interaction.tell import (
    BEGIN,
    END,
    calibrated,
    filled,
    gains_of_asking,
    summarise,
    table,
    table_by_kind,
    table_of_gains,
)
from demo.measure import packed

QUERIES = 60
KIND_OF = [list(KINDS)[n % len(KINDS)] for n in range(QUERIES)]


def measured(share: float, calls: float = 0.0) -> dict[str, object]:
    """So many queries right at rank 1, the others at rank 12."""
    first = np.where(np.arange(QUERIES) < share * QUERIES, 1, 12)
    result = Evaluation(np.arange(QUERIES), np.arange(QUERIES) // 2, first, 1.0 / first, 1.0 / first, 0, 300)
    cost = {"calls": calls, "tokens": 40 * calls, "ms": 3.0}
    return {"settings": {"lam": 0.5}, "result": packed(result), "cost": cost}


def summary(best: float, calls: float = 0.0) -> dict[str, object]:
    rows = {method.name: measured(0.4) for method in METHODS}
    return summarise({**rows, "all": measured(best, calls)}, KIND_OF)


def test_aims_are_judged_by_what_was_found() -> None:
    won, lost = summary(0.8)["aims"], summary(0.3, calls=2.0)["aims"]
    assert [aim["reached"] for aim in won] == [True] * 4
    assert [aim["reached"] for aim in lost] == [False] * 4
    assert "+40.0" in won[0]["found"] and "2.0 calls" in lost[3]["found"]
    assert "short and vague -" in lost[2]["found"]


def test_the_tables_hold_every_method_and_every_kind() -> None:
    found = summary(0.8)
    rows = table(found).splitlines()
    assert len(rows) == 2 + len(METHODS) and all(row.count("|") == 10 for row in rows)
    assert rows[-1].startswith("| all together | 80.0 [")
    gains = table_of_gains(found).splitlines()
    assert len(gains) == len(METHODS) and "+40.0 [" in gains[-1] and gains[-1].count("better") == 3
    assert gains[2].count("no clear difference") == 3
    by_kind = table_by_kind(found, "R@10").splitlines()
    assert "wrong in one detail (12)" in by_kind[0] and len(by_kind) == 2 + len(METHODS)


def test_a_document_is_filled_between_its_marks_again_and_again() -> None:
    text = f"# T\n\n## Measured\n{BEGIN}\nnot yet\n{END}\n\nmore\n"
    once = filled(text, "| 1 |\n")
    assert once == f"# T\n\n## Measured\n{BEGIN}\n| 1 |\n{END}\n\nmore\n" and filled(once, "| 1 |") == once
    with pytest.raises(ValueError, match="needs the marks"):
        filled("# T\n", "| 1 |")


def test_a_document_without_marks_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "doc.md").write_text("# T\n")
    assert main(["--out", str(tmp_path / "out"), "--docs", str(tmp_path / "doc.md")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "doc.md" in error and "needs the marks" in error
    assert not (tmp_path / "out" / "world").exists()


def test_the_published_row_is_the_published_mti() -> None:
    paper = BY_NAME["paper"].config({"lam": 0.6}, 20)
    assert (paper.judge, paper.k, paper.m, paper.xi, paper.lam) == ("hard", 20, 1, 0.85, 0.6)
    assert {m.config({}, 20).k for m in METHODS if m.name.startswith("dossier")} == {20, 50, 100, 200}
    for method in METHODS:
        assert not method.like or BY_NAME[method.like].axes, method.name
        assert not set(method.axes) & set(method.fixed or {}), method.name


def test_texts_are_embedded_once_and_in_order() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text)] for text in texts], np.float32)

    of = remembered(encode)
    assert of(["a", "bb", "a"])[:, 0].tolist() == [1, 2, 1] and of(["ccc", "bb"])[:, 0].tolist() == [3, 2]
    assert seen == ["a", "bb", "ccc"]


def world(people: int = 12, pictures: int = 3) -> tuple[SimpleNamespace, Dossiers]:
    """People by dossier alone; similarities say nothing, and answers are right for every picture."""
    facets = default_facets()
    rng = np.random.default_rng(0)
    owned = np.repeat(np.arange(people), pictures)
    tables = []
    for facet in facets:
        looks = rng.integers(0, len(facet.values), people)
        tables.append(
            np.eye(len(facet.values), dtype=np.float32)[looks][owned] * 0.94 + 0.06 / len(facet.values)
        )
    ids = tuple(f"{n}" for n in range(len(owned)))
    split = SimpleNamespace(
        ids=ids,
        owned=owned,
        wanted=np.arange(people),
        texts=["somebody"] * people,
        picture_vectors=np.full((len(owned), 4), 0.5, np.float32),
        text_vectors=np.full((people, 4), 0.5, np.float32),
    )
    return split, Dossiers(facets, ids, tuple(tables))


def test_conversations_lead_to_the_person_and_asking_by_gain_gets_there_first() -> None:
    split, dossiers = world()
    found = compare_ways(split, dossiers, MTIConfig(judge="dossier"), lambda *_: None)  # type: ignore[arg-type]
    assert set(found["ways"]) == {"gain", "fixed", "random"} and 0 < found["answered"] <= 1
    for way in found["ways"].values():
        assert len(way["hits"]) == ROUNDS + 1
        assert way["hits@1"][-1].value > way["hits@1"][0].value
    assert found["ways"]["gain"]["bri"].value < found["ways"]["fixed"]["bri"].value
    assert found["gain_over"]["fixed"]["bri"].value < 0
    said = gains_of_asking(dict(plain(found)))
    assert said.count("BRI -") == 2 and "in fixed order" in said and "at random" in said


def test_calibration_is_told_before_and_after() -> None:
    said = calibrated({"answers": 1234, "ece_before": 0.0515, "ece": 0.021})
    assert "1,234 answers" in said and "0.051 before, 0.021 after" in said
