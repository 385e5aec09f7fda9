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
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ctgi.interaction.anchor import Judge, Judged, Verdict, find_anchors, judge_all
from ctgi.interaction.asking import Asker, ModelGone
from ctgi.interaction.budget import BudgetSpent
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.memory import Memory
from ctgi.interaction.outcome import Anchor
from ctgi.interaction.persons import same_person
from ctgi.interaction.questions import posterior, topics_worth_asking
from ctgi.interaction.reading import Reading
from ctgi.interaction.soft import join, live_log_likelihood, log_likelihood
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.messages import judge_messages
from ctgi.mllm.prompt import Prompt

Candidates = Sequence[tuple[str, float]]
Another = Callable[[str, Sequence[str]], bool]


@dataclass
class Judgement:
    """The anchors, best first, and log L of every candidate that was judged, by id (none for the hard judge).
    `confirmed`: the top candidate is the anchor and ends the search, for its similarity is above ξ.
    `cut_short`: why the soft judge could not look at all candidates. `answers`: the candidates' dossiers,
    where these judged."""

    anchors: list[Anchor] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)
    confirmed: bool = False
    cut_short: BudgetSpent | ModelGone | None = None
    answers: Dossiers | None = None


def live_judge(asker: Asker, pictures: Callable[[str], bytes], query: str, memory: Memory) -> Judge:
    """The chat model as judge: is this the person of the query? It sees the picture's pixels and no more."""
    version = "+".join(Prompt.load(name).version for name in ("system", "judge"))

    async def ask(picture: str) -> Verdict:
        messages = judge_messages(pictures(picture), query)
        request = ChatRequest(messages, "judge", version, picture, max_tokens=4, choices=("yes", "no"))
        reply = await asker.chat(request)
        probability = (reply.choice_probabilities or {}).get("yes")
        return Verdict(reply.text.strip().lower().startswith("yes"), probability)

    async def judge(picture: str) -> Verdict:
        return await memory.awaited(("judge", query, picture), lambda: ask(picture))

    return judge


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
    """The live judge asked about all candidates; where its server gives no probabilities its word counts.

    Where time, calls or the server end before that, what was judged is weighed, and the others keep their
    similarity.
    """
    cut_short = await judge_all(candidates, judge, judged, wave=config.wave, first_alone=sure)
    if sure and judged and judged[0].fits:
        return Judgement([Anchor(candidates[0][0])], confirmed=True)
    if not judged:
        return Judgement(cut_short=cut_short)
    yes, fits = np.full(len(candidates), np.nan), np.zeros(len(candidates), bool)
    for one in judged:
        yes[one.rank - 1], fits[one.rank - 1] = _yes(one), one.fits is True
    likelihood = live_log_likelihood(yes, config)
    weighed = _weighed(candidates, likelihood, fits, config, sure=False, another=another)
    return replace(weighed, cut_short=cut_short)


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
    answers = dossiers.of([name for name, _ in candidates])
    likelihood = log_likelihood(answers, reading, config)
    fits = likelihood > 0.0
    logs = _joined(candidates, likelihood, config) / config.temperature
    posterior = np.exp(logs - logs.max())
    posterior /= posterior.sum()
    verdicts = zip(candidates, fits.tolist(), posterior.tolist(), strict=True)
    judged += [
        Judged(name, rank, score, fit, share) for rank, ((name, score), fit, share) in enumerate(verdicts, 1)
    ]
    weighed = _weighed(candidates, likelihood, fits, config, sure=sure, another=another)
    return replace(weighed, answers=answers)


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
    candidates: Candidates, dossiers: Dossiers, reading: Reading, judgement: Judgement, config: MTIConfig
) -> Mapping[str, float]:
    """Topic -> what an answer to it is expected to tell about which candidate is meant, in nats."""
    names = [name for name, _ in candidates]
    answers = judgement.answers
    if answers is None:
        answers = dossiers.of(names)
        likelihood = log_likelihood(answers, reading, config)
    else:
        likelihood = np.array([judgement.evidence[name] for name in names], np.float32)
    joined = _joined(candidates, likelihood, config)
    known = {said.facet for said in reading.says}
    return topics_worth_asking(answers, posterior(joined / config.temperature), config.doubt, known)


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
