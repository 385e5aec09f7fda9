"""MTI (Sec. 3.3): search, find the anchor, ask it what the query leaves out, rewrite, rank again.

A search never fails where a ranking exists: when time, calls or the language model run out, the best ranking
so far comes back, with the stage that was left out and the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.reconstructor import Reconstructor
from ctgi.captioning.transcript import Pair
from ctgi.errors import CtgiError
from ctgi.interaction.anchor import Judged, Verdict, find_anchor
from ctgi.interaction.asking import Asker, Chat, ModelGone
from ctgi.interaction.budget import Budget, BudgetSpent
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.refine import ask_anchor, asks_a_model, missing_questions, within
from ctgi.interaction.rerank import Ranking, Vector, fuse, with_anchor
from ctgi.mllm.chat import ChatRequest
from ctgi.mllm.messages import judge_messages
from ctgi.mllm.prompt import Prompt

Encode = Callable[[list[str]], NDArray[np.float32]]
Pictures = Callable[[str], bytes]


class Index(Protocol):
    """The one call of a gallery that MTI makes: hits have `ids` and `scores`, a row a query, best first."""

    def search(self, vectors: Vector, k: int) -> Any: ...


class StopReason(StrEnum):
    """Why a search ended where it did."""

    REFINED = "refined"
    """All three steps were taken."""
    EARLY_STOP = "early_stop"
    """The top candidate was above ξ and confirmed: nothing to refine."""
    NO_ANCHOR = "no_anchor"
    """None of the top K fits."""
    NOTHING_MISSING = "nothing_missing"
    """The query leaves nothing open that the pool could ask."""
    NOTHING_LEARNT = "nothing_learnt"
    """No answer of the anchor was fit to be used, or rewriting changed nothing."""
    DEADLINE = "deadline"
    MAX_CALLS = "max_calls"
    MODEL_FAILED = "model_failed"
    OFF = "off"
    """No chat model was given."""
    EMPTY_GALLERY = "empty_gallery"


@dataclass
class SearchOutcome:
    """What a search found and what it took.

    `vector` float32 (D,) is what `ranking` was made with: its inner product with any picture's vector is that
    picture's score, except the anchor's, which is 1. `seconds` are by stage (encode, search, judge, ask,
    rewrite, rerank, total). `calls` and tokens are this search's; `cached` of the calls cost nothing, and
    `abandoned` were called off when the anchor was found (whether the server bills them is up to it).
    """

    query: str
    vector: Vector
    plain: Ranking
    ranking: Ranking
    anchor: str | None = None
    judged: list[Judged] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    refined_query: str | None = None
    stop_reason: StopReason = StopReason.OFF
    note: str = ""
    """One line for people where something was left out, else empty."""
    calls: int = 0
    cached: int = 0
    abandoned: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


class MTI:
    """The paper's interaction over one gallery and one chat model.

    `encode` turns texts into float32 (N, D) of unit norm, `pictures` gives the bytes that the model is shown
    for an id (it may raise CtgiError), `scale` maps the top candidate's cosine to the scale ξ is read on;
    without it ξ is compared with the cosine itself. `client` may be None: then every search is the plain one.
    """

    def __init__(
        self,
        encode: Encode,
        gallery: Index,
        client: Chat | None,
        pictures: Pictures,
        pool: QuestionPool,
        reconstructor: Reconstructor,
        config: MTIConfig | None = None,
        *,
        scale: Callable[[float], float] | None = None,
        pair_filter: PairFilter | None = None,
    ) -> None:
        self.config = config or MTIConfig()
        self.encode = encode
        self._gallery, self._client, self._pictures = gallery, client, pictures
        self._pool, self._reconstructor = pool, reconstructor
        self._filter = pair_filter or PairFilter(pool)
        self._scale = scale if scale is not None and self.config.scale == "calibrated" else float

    async def search(self, query: str, vector: Vector | None = None) -> SearchOutcome:
        """Answer one query; `vector` is its embedding where the caller has it already.

        Raises CtgiError for a query without words, and what the encoder or the gallery raises: without them
        there is no ranking at all.
        """
        if not query.strip():
            raise CtgiError("the query has no words; describe the person")
        budget = Budget(self.config.deadline, self.config.max_calls)
        start = budget.clock()
        if vector is None:
            vector = (await asyncio.to_thread(self.encode, [query]))[0]
        budget.spent("encode", start)
        start = budget.clock()
        candidates = await self._rank(vector, max(self.config.depth, self.config.k))
        budget.spent("search", start)
        plain = with_anchor(candidates, None, self.config.depth)
        outcome = SearchOutcome(query, vector, plain, plain)
        await self._interact(outcome, candidates, budget)
        outcome.calls, outcome.cached, outcome.abandoned = budget.calls, budget.cached, budget.abandoned
        outcome.prompt_tokens, outcome.completion_tokens = budget.prompt_tokens, budget.completion_tokens
        outcome.seconds = {**budget.seconds, "total": budget.elapsed}
        return outcome

    async def _interact(self, outcome: SearchOutcome, candidates: Ranking, budget: Budget) -> None:
        """Steps 1 to 3; whatever ends them early, `outcome` holds the best ranking so far."""
        if self._client is None or not candidates.ids:
            outcome.stop_reason = StopReason.EMPTY_GALLERY if self._client else StopReason.OFF
            return
        asker = Asker(self._client, budget)
        stage = "judge"
        try:
            outcome.stop_reason = await self._timed("judge", budget, self._anchor(outcome, candidates, asker))
            if outcome.stop_reason is StopReason.REFINED:
                stage = "ask"
                outcome.stop_reason = await self._timed("ask", budget, self._ask(outcome, asker))
            if outcome.stop_reason is StopReason.REFINED:
                stage = "rewrite"
                outcome.stop_reason = await self._timed("rewrite", budget, self._rewrite(outcome, asker))
        except BudgetSpent as spent:
            outcome.stop_reason = StopReason(spent.limit)
            limit = "time" if spent.limit == "deadline" else "calls"
            outcome.note = f"out of {limit} at stage {stage}; the ranking is the best so far"
        except (ModelGone, CtgiError) as error:
            outcome.stop_reason = StopReason.MODEL_FAILED
            outcome.note = f"stage {stage} left out: {error}"
        start = budget.clock()
        ranked = candidates
        if outcome.stop_reason is StopReason.REFINED:
            ranked = await self._rank(outcome.vector, self.config.depth)
        outcome.ranking = with_anchor(ranked, outcome.anchor, self.config.depth)
        budget.spent("rerank", start)

    async def _anchor(self, outcome: SearchOutcome, candidates: Ranking, asker: Asker) -> StopReason:
        """Step 1: the first of the top K that fits; early stop where it is the top one and above ξ."""
        version = "+".join(Prompt.load(name).version for name in ("system", "judge"))

        async def judge(picture_id: str) -> Verdict:
            messages = judge_messages(self._pictures(picture_id), outcome.query)
            reply = await asker.chat(
                ChatRequest(messages, "judge", version, picture_id, max_tokens=4, choices=("yes", "no"))
            )
            probability = (reply.choice_probabilities or {}).get("yes")
            return Verdict(reply.text.strip().lower().startswith("yes"), probability)

        top = list(zip(candidates.ids, candidates.scores, strict=True))[: self.config.k]
        sure = self._scale(top[0][1]) > self.config.xi
        found = await find_anchor(top, judge, outcome.judged, wave=self.config.wave, first_alone=sure)
        if found is None:
            return StopReason.NO_ANCHOR
        outcome.anchor = found.id
        return StopReason.EARLY_STOP if sure and found.rank == 1 else StopReason.REFINED

    async def _ask(self, outcome: SearchOutcome, asker: Asker) -> StopReason:
        """Step 2, Eq. 5: the anchor's answers to what the query leaves out."""
        assert outcome.anchor is not None
        picture = self._pictures(outcome.anchor)
        for _ in range(self.config.rounds):
            known = "\n".join([outcome.query, *(pair.answer for pair in outcome.pairs if pair.kept)])
            questions = missing_questions(self._pool, known, outcome.pairs, self._affordable(asker))
            if not questions:
                break
            await ask_anchor(
                asker,
                picture,
                outcome.anchor,
                questions,
                known,
                self._filter,
                outcome.pairs,
            )
        if not outcome.pairs:
            return StopReason.NOTHING_MISSING
        return StopReason.REFINED if any(p.kept for p in outcome.pairs) else StopReason.NOTHING_LEARNT

    def _affordable(self, asker: Asker) -> int:
        """Questions of one round, so that a call is left for rewriting. Raises BudgetSpent for none."""
        left = asker.budget.calls_left()
        if left is None:
            return self.config.questions
        left -= asks_a_model(self._reconstructor)
        if left < 1:
            raise BudgetSpent("max_calls")
        return min(left, self.config.questions)

    async def _rewrite(self, outcome: SearchOutcome, asker: Asker) -> StopReason:
        """Step 2, Eq. 6, and the fused vector of step 3, Eq. 7."""
        kept: Sequence[Pair] = [pair for pair in outcome.pairs if pair.kept]
        refined = await within(self._reconstructor, asker).rewrite(outcome.query, kept)
        if refined.strip() == outcome.query.strip():
            return StopReason.NOTHING_LEARNT
        [vector] = await asyncio.to_thread(self.encode, [refined])
        outcome.refined_query = refined
        outcome.vector = fuse(outcome.vector, vector, self.config.lam)
        return StopReason.REFINED

    async def _rank(self, vector: Vector, depth: int) -> Ranking:
        hits = await asyncio.to_thread(self._gallery.search, vector[None], depth)
        return Ranking(tuple(hits.ids[0]), tuple(float(score) for score in hits.scores[0]))

    @staticmethod
    async def _timed(stage: str, budget: Budget, step: Awaitable[StopReason]) -> StopReason:
        start = budget.clock()
        try:
            return await step
        finally:
            budget.spent(stage, start)
