"""Calibration of dossiers: a known temperature is found again, and the figures are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctgi.errors import CtgiError
from ctgi.evaluation.reliability import save_reliability
from ctgi.interaction.dossier import Dossiers, Facet
from ctgi.interaction.reading import Reading, Said
from ctgi.interaction.temperature import (
    Answered,
    Temperatures,
    fit_temperatures,
    known_answers,
    reliability,
    softened,
)

FACETS = (
    Facet("upper", "colour", ("red", "blue", "green", "cannot tell")),
    Facet("hat", "kind", ("cap", "none", "cannot tell")),
)


def world(sharper: float, count: int, seed: int = 0) -> tuple[Dossiers, dict[int, Answered]]:
    """Answers whose true probabilities are p and which claim p^sharper: right at temperature `sharper`."""
    rng = np.random.default_rng(seed)
    tables, answered = [], {}
    for number, facet in enumerate(FACETS):
        true = rng.dirichlet(np.full(len(facet.values) - 1, 0.7), count)
        true = np.maximum(true, 1e-3)
        true /= true.sum(axis=1, keepdims=True)
        claimed = true**sharper / (true**sharper).sum(axis=1, keepdims=True)
        truth = np.array([rng.choice(len(row), p=row) for row in true])
        tables.append(np.concatenate([claimed, np.zeros((count, 1))], axis=1).astype(np.float32))
        answered[number] = Answered(claimed, truth)
    return Dossiers(FACETS, tuple(map(str, range(count))), tuple(tables)), answered


@pytest.mark.parametrize("sharper", [0.6, 1.0, 2.5])
def test_the_temperature_is_found_again(sharper: float) -> None:
    dossiers, answered = world(sharper, 3000)
    found = fit_temperatures(dossiers, answered, doubt=1e-9)
    assert found.common == pytest.approx(sharper, rel=0.1)
    assert found.by_facet == pytest.approx({"upper/colour": sharper, "hat/kind": sharper}, rel=0.15)
    assert found.ece < 0.03 and found.ece <= found.ece_before + 0.01
    assert (sharper == 1.0) == (found.ece_before < 0.03)


def test_mistaken_witnesses_do_not_make_answers_look_unsure() -> None:
    dossiers, answered = world(1.0, 4000)
    rng = np.random.default_rng(9)
    for one in answered.values():
        wrong = rng.random(len(one.truth)) < 0.1
        one.truth[wrong] = rng.integers(0, one.told.shape[1], wrong.sum())
    naive = fit_temperatures(dossiers, answered, doubt=1e-9).common
    robust = fit_temperatures(dossiers, answered, doubt=0.1).common
    assert abs(robust - 1.0) < 0.12 and robust < naive


def test_a_facet_with_few_answers_takes_the_temperature_of_all() -> None:
    dossiers, answered = world(2.0, 500)
    answered[1] = Answered(answered[1].told[:20], answered[1].truth[:20])
    found = fit_temperatures(dossiers, answered, doubt=0.01)
    assert set(found.by_facet) == {"upper/colour"} and found.answers == 520
    with pytest.raises(CtgiError, match="20 answers"):
        fit_temperatures(dossiers, {1: answered[1]}, doubt=0.01)


def test_what_cannot_be_told_keeps_its_share() -> None:
    table = np.array([[0.6, 0.2, 0.0, 0.2], [0, 0, 0, 1]], np.float32)
    dossiers = Dossiers(FACETS[:1], ("a", "b"), (table,))
    [soft] = Temperatures(2.0).applied(dossiers).probability
    assert soft.sum(axis=1) == pytest.approx(1) and soft[:, -1] == pytest.approx([0.2, 1.0])
    ratio = np.sqrt(0.6 / 0.2)
    assert soft[0, 0] / soft[0, 1] == pytest.approx(ratio, rel=1e-5) and soft[0, 2] > 0
    [same] = Temperatures(1.0).applied(dossiers).probability
    assert same == pytest.approx(table, abs=2e-4)


def test_the_diagram_is_that_of_counting() -> None:
    told = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    found = reliability({1: Answered(told, np.array([0, 1, 1, 1]))}, bins=2)
    assert found.stated == pytest.approx([0.65, 0.85]) and found.right == pytest.approx([1.0, 0.5])
    assert found.count.tolist() == [2, 2] and found.ece == pytest.approx((0.35 + 0.35) / 2)


def test_truth_is_what_queries_say_without_doubt_of_pictures_that_can_tell() -> None:
    table = np.array([[0.6, 0.2, 0.0, 0.2], [0.1, 0.0, 0.1, 0.8]], np.float32)
    dossiers = Dossiers(FACETS[:1], ("a", "b"), (table,))

    def said(*weights: float, doubt: float = 0.0) -> Reading:
        return Reading((Said(0, np.array([*weights, 0], np.float32), doubt),))

    readings = [said(1, 0, 0), said(0, 1, 0.5), said(1, 1, 0), said(0, 0, 1, doubt=0.5)]
    answered = known_answers(dossiers, readings, [[0, 1], [0], [0], [0]])
    assert answered[0].truth.tolist() == [0, 1]
    assert answered[0].told == pytest.approx(np.array([[0.75, 0.25, 0]] * 2))


def test_it_goes_into_a_release_and_back() -> None:
    found = Temperatures(1.3, {"hat/kind": 2.0}, 120, 0.08, 0.02)
    assert Temperatures.of(found.to_dict()) == found
    for broken in ({"kind": "other"}, {**found.to_dict(), "common": -1}, {"kind": "temperature"},
                   {**found.to_dict(), "by_facet": 3}):  # fmt: skip
        with pytest.raises(CtgiError):
            Temperatures.of(broken)


def test_softening_keeps_the_order_and_the_sum() -> None:
    told = np.random.default_rng(4).dirichlet(np.full(6, 0.3), 50)
    for temperature in (0.3, 1.0, 5.0):
        soft = softened(told, temperature)
        assert soft.sum(axis=1) == pytest.approx(1) and (soft.argmax(axis=1) == told.argmax(axis=1)).all()


def test_the_figure_is_a_picture(tmp_path: Path) -> None:
    dossiers, answered = world(2.0, 300)
    found = fit_temperatures(dossiers, answered, doubt=0.05)
    before, after = reliability(answered), reliability(answered, dossiers, found)
    save_reliability(before, after, tmp_path / "r.png")
    with Image.open(tmp_path / "r.png") as drawn:
        blue = np.asarray(drawn.convert("RGB"))
    assert after.ece < before.ece and (blue == (31, 111, 235)).all(axis=2).sum() > 200
