"""Step 1 of MTI by each judge: which candidates are anchors, how far each is trusted, and what the judgements
add to the candidates' scores.

"hard" is the paper's: the first m that the model says "yes" to. "soft" asks about all K and takes its
probability of "yes"; "dossier" reads what the pictures answered when they were enrolled. For these two a
candidate's place is decided by J = S + τ·w·log L (`soft`), its trust as an anchor is its posterior against
the best anchor's, exp((J - J_1)/τ), and whoever the answers speak against is no anchor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctgi.interaction.anchor import Judge, Judged, find_anchors
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.outcome import Anchor
from ctgi.interaction.persons import same_person
from ctgi.interaction.questions import posterior, topics_worth_asking
from ctgi.interaction.reading import Reading
from ctgi.interaction.soft import join, live_log_likelihood, log_likelihood

Candidates = Sequence[tuple[str, float]]
Another = Callable[[str, Sequence[str]], bool]


@dataclass
class Judgement:
    """The anchors, best first, and log L of every candidate that was judged, by id (none for the hard judge).
    `confirmed`: the top candidate is the anchor and ends the search, for its similarity is above ξ."""

    anchors: list[Anchor] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)
    confirmed: bool = False


async def judge_hard(
    candidates: Candidates,
    judge: Judge,
    judged: list[Judged],
    config: MTIConfig,
    *,
    sure: bool,
    another: Another | None,
) -> Judgement:
    """The paper's judge; with `sure` a "yes" to the top candidate ends the search."""
    found = await find_anchors(
        candidates, judge, judged, wave=config.wave, first_alone=sure, most=config.m, another=another
    )
    anchors = [Anchor(one.id) for one in found]
    return Judgement(anchors, confirmed=bool(found) and sure and found[0].rank == 1)


async def judge_soft(
    candidates: Candidates,
    judge: Judge,
    judged: list[Judged],
    config: MTIConfig,
    *,
    sure: bool,
    another: Another | None,
) -> Judgement:
    """The live judge asked about all candidates; where its server gives no probabilities its word counts."""
    top = candidates[0][0]
    first = await find_anchors(
        candidates,
        judge,
        judged,
        wave=config.wave,
        first_alone=sure,
        another=lambda name, _: sure and name == top,
    )
    if first:
        return Judgement([Anchor(top)], confirmed=True)
    yes = np.array([_yes(one) for one in judged])
    fits = np.array([one.fits is True for one in judged])
    return _weighed(candidates, live_log_likelihood(yes, config), fits, config, sure=False, another=another)


def judge_by_dossiers(
    candidates: Candidates,
    dossiers: Dossiers,
    reading: Reading,
    judged: list[Judged],
    config: MTIConfig,
    *,
    sure: bool,
    another: Another | None,
) -> Judgement:
    """What the candidates answered when they were enrolled; no call."""
    likelihood = log_likelihood(dossiers.of([name for name, _ in candidates]), reading, config)
    fits = likelihood > 0.0
    logs = _joined(candidates, likelihood, config) / config.temperature
    posterior = np.exp(logs - logs.max())
    posterior /= posterior.sum()
    judged += [
        Judged(name, rank, score, bool(fit), float(share))
        for rank, ((name, score), fit, share) in enumerate(zip(candidates, fits, posterior, strict=True), 1)
    ]
    return _weighed(candidates, likelihood, fits, config, sure=sure, another=another)


def another_person(dossiers: Dossiers, reading: Reading, config: MTIConfig) -> Another:
    """Whether a candidate is more probably none of some others than one of them, by their dossiers."""
    named = {said.facet for said in reading.says}

    def another(candidate: str, others: Sequence[str]) -> bool:
        if not others:
            return True
        some = dossiers.of([candidate, *others])
        return all(same_person(some, 0, row, config.doubt, named) <= 0.0 for row in range(1, len(others) + 1))

    return another


def worths_of_topics(
    candidates: Candidates, dossiers: Dossiers, reading: Reading, config: MTIConfig
) -> Mapping[str, float]:
    """Topic -> what an answer to it is expected to tell about which candidate is meant, in nats."""
    some = dossiers.of([name for name, _ in candidates])
    joined = _joined(candidates, log_likelihood(some, reading, config), config)
    known = {said.facet for said in reading.says}
    return topics_worth_asking(some, posterior(joined / config.temperature), config.doubt, known)


def _weighed(
    candidates: Candidates,
    likelihood: NDArray[np.float32],
    fits: NDArray[np.bool_],
    config: MTIConfig,
    *,
    sure: bool,
    another: Another | None,
) -> Judgement:
    """The best m candidates that fit, each trusted by its share of the posterior against the best."""
    joined = _joined(candidates, likelihood, config)
    evidence = {name: float(value) for (name, _), value in zip(candidates, likelihood, strict=True)}
    order = np.argsort(-joined, kind="stable")
    anchors: list[Anchor] = []
    best = 0.0
    for row in order[fits[order]]:
        name = candidates[row][0]
        if another is not None and not another(name, [anchor.id for anchor in anchors]):
            continue
        best = best if anchors else float(joined[row])
        anchors.append(Anchor(name, math.exp((float(joined[row]) - best) / config.temperature)))
        if len(anchors) == config.m:
            break
    return Judgement(anchors, evidence, confirmed=sure and order[0] == 0 and bool(fits[0]))


def _joined(
    candidates: Candidates, likelihood: NDArray[np.float32], config: MTIConfig
) -> NDArray[np.float64]:
    return join(np.array([score for _, score in candidates]), likelihood, config)


def _yes(one: Judged) -> float:
    """The live judge's probability of "yes"; NaN where the call failed."""
    if one.fits is None:
        return math.nan
    return one.probability if one.probability is not None else float(one.fits)
