"""No attribute gives another away, nor does skin tone or stature."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from demo.pedestrians.attributes import ATTRIBUTES, sample_person

SAMPLES = 20_000


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2026)
    people = [sample_person(rng) for _ in range(SAMPLES)]
    table = {
        name: np.array([values.index(person.attributes[name]) for person in people])
        for name, values in ATTRIBUTES.items()
    }
    table["skin"] = np.digitize([person.skin[0] for person in people], (0.5, 0.65, 0.8, 0.9))
    table["stature"] = np.digitize([person.stature for person in people], (0.97, 1.0))
    table["build"] = np.digitize([person.build for person in people], (0.98, 1.05))
    return table


def _p_value(first: np.ndarray, second: np.ndarray) -> float:
    counts = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(counts, (first, second), 1)
    return float(chi2_contingency(counts).pvalue)


def test_every_pair_is_independent(columns: dict[str, np.ndarray]) -> None:
    pairs = list(combinations(columns, 2))
    # Bonferroni: 1 % over all pairs together.
    dependent = {pair for pair in pairs if _p_value(columns[pair[0]], columns[pair[1]]) < 0.01 / len(pairs)}
    assert not dependent


def test_the_measure_sees_a_dependence_of_one_in_twenty(columns: dict[str, np.ndarray]) -> None:
    leaky = columns["gender"].copy()
    copied = np.random.default_rng(0).random(SAMPLES) < 0.05
    leaky[copied] = columns["hair_length"][copied] > 0
    assert _p_value(leaky, columns["hair_length"]) < 1e-4


def test_every_value_is_common_enough_to_be_learnt(columns: dict[str, np.ndarray]) -> None:
    for name, values in ATTRIBUTES.items():
        shares = np.bincount(columns[name], minlength=len(values)) / SAMPLES
        assert shares.min() > 0.08, name


def test_there_are_at_least_sixteen_attributes() -> None:
    assert len(ATTRIBUTES) >= 16
