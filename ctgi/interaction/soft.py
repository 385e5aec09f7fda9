"""The soft judge: how much the answers of a picture speak for or against its being the one described.

A text says something about a facet with weights w over its values. Were the picture's person drawn anew, the
values would fit as often as they are common, b = Σ_v π(v) w(v); this picture's answers say that they fit with
probability a = Σ_v q(v) w(v), where q is its dossier with "cannot tell" filled up by π. If the statement is
wrong, with probability ε, it tells nothing. So the statement's likelihood ratio is

    L = (1 - ε)·a / b + ε,        ε = 1 - (1 - doubt prior)·(1 - the text's own doubt),

and log L lies between log ε, the floor that no single detail can go below, and log((1 - ε)/b + ε): a rare
detail that fits ("an umbrella") counts for more than a common one, a picture that cannot tell has log L = 0,
and so has, in advance, one that was never asked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import Reading, Said

Floats = NDArray[np.float32]


def agreement(dossiers: Dossiers, said: Said) -> tuple[Floats, float]:
    """How probably each picture fits what is said, float32 (N,), and how probably any picture would."""
    filled = said.weights.astype(np.float32)
    chance = float(dossiers.prior[said.facet] @ said.weights[:-1])
    filled[-1] = chance
    return dossiers.probability[said.facet] @ filled, chance


def detail_log_likelihood(dossiers: Dossiers, said: Said, config: MTIConfig) -> Floats:
    """log L of one statement, float32 (N,)."""
    fits, chance = agreement(dossiers, said)
    if chance <= 0.0:
        return np.zeros(len(dossiers), np.float32)
    wrong = 1.0 - (1.0 - config.doubt) * (1.0 - said.doubt)
    ratio: Floats = np.float32((1.0 - wrong) / chance) * fits
    ratio += np.float32(wrong)
    return np.log(ratio)


def log_likelihood(
    dossiers: Dossiers, reading: Reading, config: MTIConfig, begun: Floats | None = None
) -> Floats:
    """Σ log L over all that a text says, float32 (N,); 0 where nothing is known. `begun` is a sum that this
    one goes on from."""
    total = np.zeros(len(dossiers), np.float32) if begun is None else begun.copy()
    for said in reading.says:
        total += detail_log_likelihood(dossiers, said, config)
    return total


def live_log_likelihood(yes: NDArray[np.floating], config: MTIConfig) -> Floats:
    """The same of the live judge: `yes` (N,) are its probabilities of "yes", NaN where a call failed.

    The candidates' mean stands for the average picture; with one and the same doubt as floor.
    """
    yes = np.asarray(yes, np.float64)
    known = np.isfinite(yes)
    ratio = np.ones(len(yes))
    if known.any() and (chance := float(yes[known].mean())) > 0.0:
        ratio[known] = (1.0 - config.doubt) * yes[known] / chance + config.doubt
    return np.log(ratio).astype(np.float32)


def join(similarity: NDArray[np.floating], log_likelihood: Floats, config: MTIConfig) -> NDArray[np.float64]:
    """J = S + τ·w·log L, float64 (N,): similarity and answers on the scale of the similarity."""
    return np.asarray(similarity, np.float64) + config.temperature * config.weight * log_likelihood.astype(
        np.float64
    )
