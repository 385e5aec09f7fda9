"""Calibrated dossiers: how sure an answer really is, learnt on val.

What a model's probabilities are worth is found out where the truth is known: where a val query says what a
person wears, the dossiers of that person's pictures should say so with the frequency that their probabilities
promise. One temperature a facet, p(v) ∝ p(v)^(1/T) (Guo et al. 2017, On Calibration of Modern Neural
Networks), or the one of all facets where a facet has too few answers to learn from. "Cannot tell" is no value
and keeps its share.

A query may itself be wrong, so the truth is what it says with probability 1 - ε and anything else with ε;
else a few mistaken witnesses would make every answer look unsure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError
from ctgi.interaction.calibration import expected_calibration_error
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import Reading

#: A facet with fewer known answers than this takes the temperature of all.
FEWEST = 50
_LOW, _HIGH = 0.25, 8.0
_SMALLEST = 1e-4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """Answers whose truth is known, about one facet: `told` float64 (n, V - 1), rows sum to 1, and `truth`
    int64 (n,), the value that a query states."""

    told: Floats
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: per bin the mean stated probability, the share that was right, the count."""

    stated: Floats
    right: Floats
    count: NDArray[np.int64]
    ece: float


@dataclass(frozen=True)
class Temperatures:
    """What was learnt. `by_facet` has the facets with a temperature of their own ("upper/colour")."""

    common: float
    by_facet: Mapping[str, float] = field(default_factory=dict)
    answers: int = 0
    ece_before: float = 0.0
    ece: float = 0.0

    def applied(self, dossiers: Dossiers) -> Dossiers:
        """The same dossiers with calibrated probabilities."""
        tables = []
        for facet, table in zip(dossiers.facets, dossiers.probability, strict=True):
            told, hidden = table[:, :-1].astype(np.float64), table[:, -1:]
            known = told.sum(axis=1, keepdims=True)
            softer = softened(told, self.by_facet.get(facet.key, self.common)) * np.minimum(known, 1.0)
            tables.append(np.concatenate([softer.astype(np.float32), hidden], axis=1))
        return replace(dossiers, probability=tuple(tables))

    def to_dict(self) -> dict[str, Any]:
        """As it is kept under mti.dossiers in release.json."""
        return {
            "kind": "temperature",
            "fitted_on": "val",
            "common": self.common,
            "by_facet": dict(self.by_facet),
            "answers": self.answers,
            "ece_before": self.ece_before,
            "ece": self.ece,
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Temperatures:
        """From what `to_dict` wrote. Raises CtgiError where it is another kind or incomplete."""
        if facts.get("kind") != "temperature":
            raise CtgiError(
                f"the release calibrates dossiers by {facts.get('kind')!r}; this version reads temperature"
            )
        try:
            own = {str(key): float(value) for key, value in facts["by_facet"].items()}
            figures = (float(facts[name]) for name in ("ece_before", "ece"))
            found = cls(float(facts["common"]), own, int(facts["answers"]), *figures)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CtgiError(
                f"the release's calibration of dossiers lacks a figure ({error}); export the release again"
            ) from error
        if not all(0.0 < value < np.inf for value in (found.common, *own.values())):
            raise CtgiError("the release's calibration of dossiers has a temperature that is not above 0")
        return found


def known_answers(
    dossiers: Dossiers, readings: Sequence[Reading], rows: Sequence[Sequence[int]]
) -> dict[int, Answered]:
    """By facet, the answers of the pictures (`rows` of `dossiers`, one list a reading) of whom a reading says
    a single value without doubt."""
    told: dict[int, list[Floats]] = {}
    truth: dict[int, list[int]] = {}
    for reading, pictures in zip(readings, rows, strict=True):
        for said in reading.says:
            sure = np.flatnonzero(said.weights == 1.0)
            if len(sure) != 1 or said.doubt > 0.3:
                continue
            for row in pictures:
                values = dossiers.probability[said.facet][row].astype(np.float64)
                if values[-1] < 0.5:
                    told.setdefault(said.facet, []).append(values[:-1] / values[:-1].sum())
                    truth.setdefault(said.facet, []).append(int(sure[0]))
    return {
        facet: Answered(np.stack(rows_), np.array(truth[facet], np.int64)) for facet, rows_ in told.items()
    }


def fit_temperatures(dossiers: Dossiers, answered: Mapping[int, Answered], doubt: float) -> Temperatures:
    """The temperatures that make the known answers most probable, `doubt` being a query's chance to be wrong.

    Raises CtgiError where too few answers are known.
    """
    count = sum(len(one.truth) for one in answered.values())
    if count < FEWEST:
        raise CtgiError(
            f"calibrating dossiers got {count} answers whose truth val queries tell; it needs {FEWEST}"
        )
    common = _best(list(answered.values()), doubt)
    own = {
        dossiers.facets[facet].key: _best([one], doubt)
        for facet, one in sorted(answered.items())
        if len(one.truth) >= FEWEST
    }
    found = Temperatures(common, own, count)
    before, after = reliability(answered), reliability(answered, dossiers, found)
    return replace(found, ece_before=before.ece, ece=after.ece)


def reliability(
    answered: Mapping[int, Answered],
    dossiers: Dossiers | None = None,
    temperatures: Temperatures | None = None,
    bins: int = 10,
) -> Reliability:
    """How often the most probable value is right, by its probability, over bins of equal count; with
    `temperatures` after calibration. The expected calibration error (ECE) is the mean gap."""
    stated, right = [], []
    for facet, one in answered.items():
        told = one.told
        if temperatures is not None and dossiers is not None:
            key = dossiers.facets[facet].key
            told = softened(told, temperatures.by_facet.get(key, temperatures.common))
        stated.append(told.max(axis=1))
        right.append(told.argmax(axis=1) == one.truth)
    p, y = np.concatenate(stated), np.concatenate(right).astype(np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)))
    return Reliability(
        np.array([p[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array([len(part) for part in parts], np.int64),
        expected_calibration_error(p, y, bins),
    )


def softened(told: Floats, temperature: float) -> Floats:
    """p^(1/T), rows sum to 1 again. A value of probability 0 counts as one in ten thousand, for "never" is
    more than a model with five alternatives can say."""
    logs = np.log(np.maximum(told, _SMALLEST)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _best(answered: Sequence[Answered], doubt: float) -> float:
    """The temperature of least cost, by golden-section search in log T (the cost has one valley)."""

    def cost(log_t: float) -> float:
        total = 0.0
        for one in answered:
            chance = softened(one.told, float(np.exp(log_t)))[np.arange(len(one.truth)), one.truth]
            total -= float(np.log((1.0 - doubt) * chance + doubt / one.told.shape[1]).sum())
        return total

    low, high = np.log(_LOW), np.log(_HIGH)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if cost(float(a)) <= cost(float(b)):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2.0))
