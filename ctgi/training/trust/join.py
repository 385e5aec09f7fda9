"""Signals about the same pairs, joined as independent evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctgi.errors import CtgiError

Numbers = NDArray[np.float64]

FLOOR = 0.01
"""No signal is believed beyond 0.01 or 0.99: none alone can outvote the others for good."""
LEAST = 0.1
"""Pairs that are right with less than this probability are left out as anchors."""


@dataclass(frozen=True)
class Signal:
    """`probability` float64 (N,): that each pair is right, 0 to 1; not a number where it is silent."""

    name: str
    probability: Numbers

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool (N,): where it speaks."""
        return np.isfinite(self.probability)

    @property
    def base(self) -> float:
        """The share of right pairs that it finds: the mean of a calibrated probability; 1 where it is
        silent about all."""
        return float(_held(self.probability[self.known]).mean()) if self.known.any() else 1.0


def joined(signals: Sequence[Signal], pairs: int) -> Numbers:
    """Probability that each pair is right, (N,), from all that is known about it.

    A signal's evidence about a pair is how far it moves the odds from its own base rate,
    logit P - logit base; it is nothing where the signal is silent and where it says the same of all pairs.
    The evidence of all signals is added to the odds of one base rate, the lowest that any of them finds,
    since a signal can be blind to a kind of fault. One signal that speaks, or one beside others that are
    silent or find every pair right, gives its own probabilities (floored). Ones where nobody speaks.
    """
    speaking = [signal for signal in signals if signal.known.any()]
    if not speaking:
        return np.ones(pairs)
    odds = np.full(pairs, min(_logit(signal.base) for signal in speaking))
    for signal in speaking:
        evidence = _logit(_held(signal.probability)) - _logit(signal.base)
        odds += np.where(signal.known, evidence, 0.0)
    chance: Numbers = 1 / (1 + np.exp(-odds))
    return chance


def weights(probability: Numbers, least: float = LEAST) -> Numbers:
    """How much each pair counts, (N,): its probability, or 0 below `least`.

    Raises CtgiError where no pair is left.
    """
    kept = np.where(probability >= least, probability, 0.0)
    if not kept.any():
        raise CtgiError(
            f"no caption is trusted: the best of {len(kept)} is right with probability "
            f"{probability.max(initial=0.0):.3f}, below {least:g}; lower --trust-least or use other signals"
        )
    return kept


def _held(probability: Numbers) -> Numbers:
    return probability.clip(FLOOR, 1 - FLOOR)


def _logit(p: float | Numbers) -> Numbers:
    result: Numbers = np.log(p) - np.log1p(-np.asarray(p))
    return result
