"""MTI (Sec. 3.3): search, find the anchors, ask them what the query leaves out, rewrite, rank again.

With one anchor and the hard judge, the default, this is the paper's; `judging` has the other judges, and
docs/interaction.md says what changes with them. A search never fails where a ranking exists: when time, calls
or the language model run out, the best ranking so far comes back, with the stage that was left out and the
reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.pool import QuestionPool
from ctgi.captioning.reconstructor import Reconstructor
from ctgi.captioning.transcript import Pair
from ctgi.errors import CtgiError
from ctgi.interaction.asking import Asker, Chat, ModelGone
from ctgi.interaction.budget import Budget, BudgetSpent
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.judging import (
    Judgement,
    another_person,
    judge_by_dossiers,
    judge_hard,
    judge_soft,
    live_judge,
    worths_of_topics,
)
from ctgi.interaction.memory import Memory, NoMemory
from ctgi.interaction.outcome import SearchOutcome, StopReason
from ctgi.interaction.query_reader import query_reader
from ctgi.interaction.refine import (
    ask_anchor,
    asks_a_model,
    live_anchor,
    missing_questions,
    recall,
    rewrite_all,
    within,
)
from ctgi.interaction.rerank import Index, Ranking, Scoring, Vector, fuse, trusted, with_anchor
from ctgi.interaction.scoring import Lifts, dossier_lifts, live_lifts, rank

__all__ = ["MTI", "Encode", "Index", "Pictures", "SearchOutcome", "StopReason"]

Encode = Callable[[list[str]], NDArray[np.float32]]
Pictures = Callable[[str], bytes]
T = TypeVar("T")


class MTI:
    """The interaction over one gallery and one chat model.

    `encode` turns texts into float32 (N, D) of unit norm, `pictures` gives the bytes that the model is shown
    for an id (it may raise CtgiError), `scale` maps the top candidate's cosine to the scale ξ is read on;
    without it ξ is compared with the cosine itself. `client` may be None: then every search is the plain one,
    unless `dossiers` judge it. `dossiers` of the gallery's pictures serve the judge "dossier", tell anchors
    apart, and answer for them; a query is read for them by `reader`, a text model, or without one by rules.
    `memory` is for many searches over one gallery that differ in their configuration.
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
        dossiers: Dossiers | None = None,
        reader: Chat | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.config = config or MTIConfig()
        self.encode = encode
        self._gallery, self._client, self._pictures = gallery, client, pictures
        self._pool, self._reconstructor = pool, reconstructor
        self._filter = pair_filter or PairFilter(pool)
        self._scale = scale if scale is not None and self.config.scale == "calibrated" else float
        self._dossiers, self._reader = dossiers, reader
        self._memory = memory if memory is not None else NoMemory()
        self._apart = self._memory.apart
        if self.config.judge == "dossier" and dossiers is None:
            raise CtgiError('MTI\'s judge "dossier" needs dossiers; make them with `ctgi index --dossiers`')

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
            vector = (await self._apart(self.encode, [query]))[0]
        budget.spent("encode", start)
        start = budget.clock()
        depth = max(self.config.depth, self.config.k)
        [candidates] = await self._memory.awaited(
            ("rank", query, depth), lambda: self._rank(vector[None], depth)
        )
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
        if not candidates.ids or (self._client is None and self.config.judge != "dossier"):
            outcome.stop_reason = StopReason.OFF if self._off else StopReason.EMPTY_GALLERY
            return
        asker = Asker(self._client, budget) if self._client is not None else None
        judgement = Judgement()
        stage = "read"
        try:
            if self._dossiers is not None:
                reader = None if self._reader is None else Asker(self._reader, budget)
                read = query_reader(reader, self._dossiers.facets)
                reading = self._memory.awaited(("read", outcome.query), lambda: read(outcome.query))
                outcome.reading = await self._timed("read", budget, reading)
            stage = "judge"
            judgement = await self._timed("judge", budget, self._judge(outcome, candidates, asker))
            outcome.anchors = judgement.anchors
            outcome.anchor = judgement.anchors[0].id if judgement.anchors else None
            if judgement.cut_short is not None:
                raise judgement.cut_short
            outcome.stop_reason = self._reason(outcome, judgement)
            if outcome.stop_reason is StopReason.REFINED:
                stage = "ask"
                asking = self._ask(outcome, judgement, asker, budget)
                outcome.stop_reason = await self._timed("ask", budget, asking)
            if outcome.stop_reason is StopReason.REFINED:
                stage = "rewrite"
                outcome.stop_reason = await self._timed("rewrite", budget, self._rewrite(outcome, budget))
        except BudgetSpent as spent:
            outcome.stop_reason = StopReason(spent.limit)
            limit = "time" if spent.limit == "deadline" else "calls"
            done = f" with {len(outcome.judged)} judged" if stage == "judge" else ""
            outcome.note = f"out of {limit} at stage {stage}{done}; the ranking is the best so far"
        except (ModelGone, CtgiError) as error:
            outcome.stop_reason = StopReason.MODEL_FAILED
            outcome.note = f"stage {stage} left out: {error}"
        start = budget.clock()
        await self._rerank(outcome, candidates, judgement)
        budget.spent("rerank", start)

    async def _judge(self, outcome: SearchOutcome, candidates: Ranking, asker: Asker | None) -> Judgement:
        """Step 1: who of the top K fits; early stop where it is the top one and above ξ."""
        top = list(zip(candidates.ids, candidates.scores, strict=True))[: self.config.k]
        sure = self._scale(top[0][1]) > self.config.xi
        another = None
        if self._dossiers is not None and outcome.reading is not None:
            another = another_person(self._dossiers, outcome.reading, self.config)
            if self.config.judge == "dossier":
                return judge_by_dossiers(
                    top,
                    self._dossiers,
                    outcome.reading,
                    outcome.judged,
                    self.config,
                    sure=sure,
                    another=another,
                )
        assert asker is not None
        judge = live_judge(asker, self._pictures, outcome.query, self._memory)
        of = judge_hard if self.config.judge == "hard" else judge_soft
        return await of(top, judge, outcome.judged, self.config, sure=sure, another=another)

    def _reason(self, outcome: SearchOutcome, judgement: Judgement) -> StopReason:
        if judgement.confirmed:
            return StopReason.EARLY_STOP
        if judgement.anchors:
            return StopReason.REFINED
        unread = self.config.judge == "dossier" and outcome.reading is not None and not outcome.reading.says
        return StopReason.NOTHING_READ if unread else StopReason.NO_ANCHOR

    async def _ask(
        self, outcome: SearchOutcome, judgement: Judgement, asker: Asker | None, budget: Budget
    ) -> StopReason:
        """Step 2, Eq. 5: each anchor answers what the query leaves out, from its dossier if it has one."""
        worths = None
        if self._dossiers is not None and outcome.reading is not None:
            top = list(zip(outcome.plain.ids, outcome.plain.scores, strict=True))[: self.config.k]
            worths = worths_of_topics(top, self._dossiers, outcome.reading, judgement, self.config)
        for number, anchor in enumerate(outcome.anchors):
            stored = self._dossiers.answers(anchor.id) if self._dossiers is not None else ()
            if number == 0:
                outcome.pairs = anchor.pairs
            for _ in range(1 if stored else self.config.rounds):
                known = "\n".join([outcome.query, *(pair.answer for pair in anchor.pairs if pair.kept)])
                most = self.config.questions if stored else self._affordable(budget)
                questions = missing_questions(self._pool, known, anchor.pairs, most, worths)
                if not questions:
                    break
                if stored:
                    key = ("recall", known, anchor.id, tuple(question.topic for question in questions))
                    anchor.pairs += self._memory.of(
                        key, partial(recall, stored, questions, known, self._filter)
                    )
                elif asker is not None:
                    ask = live_anchor(asker, self._pictures(anchor.id), anchor.id, self._memory)
                    await ask_anchor(ask, questions, known, self._filter, anchor.pairs)
        pairs = [pair for anchor in outcome.anchors for pair in anchor.pairs]
        if not pairs:
            return StopReason.NOTHING_MISSING
        return StopReason.REFINED if any(pair.kept for pair in pairs) else StopReason.NOTHING_LEARNT

    def _affordable(self, budget: Budget) -> int:
        """Questions of one round, so that a call is left for rewriting. Raises BudgetSpent for none."""
        left = budget.calls_left()
        if left is None:
            return self.config.questions
        left -= asks_a_model(self._reconstructor)
        if left < 1:
            raise BudgetSpent("max_calls")
        return min(left, self.config.questions)

    async def _rewrite(self, outcome: SearchOutcome, budget: Budget) -> StopReason:
        """Step 2, Eq. 6, and the fused vectors of step 3, Eq. 7."""
        asked = [anchor for anchor in outcome.anchors if any(pair.kept for pair in anchor.pairs)]
        writer, query = within(self._reconstructor, budget), outcome.query

        def rewrite(pairs: Sequence[Pair]) -> Awaitable[str]:
            key = ("rewrite", query, tuple(pairs))
            return self._memory.awaited(key, lambda: writer.rewrite(query, pairs))

        texts = await rewrite_all(rewrite, query, [anchor.pairs for anchor in asked])
        refined = [(anchor, text) for anchor, text in zip(asked, texts, strict=True) if text is not None]
        if not refined:
            return StopReason.NOTHING_LEARNT
        new = [text for _, text in refined]
        vectors = await self._memory.awaited(("encode", *new), lambda: self._apart(self.encode, new))
        for (anchor, text), vector in zip(refined, vectors, strict=True):
            anchor.refined_query = text
            anchor.vector = fuse(outcome.vector, vector, trusted(self.config.lam, anchor.trust))
        return StopReason.REFINED

    async def _rerank(self, outcome: SearchOutcome, candidates: Ranking, judgement: Judgement) -> None:
        """Step 3 over the whole gallery: the largest score over the anchors that were refined."""
        query, depth, hits = outcome.vector, max(self.config.depth, self.config.k), [candidates]
        refined = [anchor for anchor in outcome.anchors if anchor.vector is not None]
        vectors = np.stack([one.vector for one in refined if one.vector is not None] or [query])
        if refined:
            hits = await self._rank(vectors, depth)
            first = outcome.anchors[0]
            outcome.refined_query = first.refined_query
            outcome.vector = first.vector if first.vector is not None else query
        lifts: Lifts = {}
        if self.config.judge == "soft":
            lifts = live_lifts(judgement.evidence, refined, self.config)
        elif self.config.judge == "dossier" and self._dossiers and outcome.reading and outcome.reading.says:
            heads = [name for ranking in (candidates, *hits) for name in ranking.ids[: self.config.k]]
            names = list(dict.fromkeys(heads))
            lifts = dossier_lifts(names, self._dossiers, outcome.reading, refined, self.config)
        leads = outcome.anchor if self.config.judge == "hard" else None
        outcome.scoring = Scoring(vectors, lifts, leads)
        ranking = rank(outcome.scoring, hits, getattr(self._gallery, "vectors", None))
        outcome.ranking = with_anchor(ranking, leads, self.config.depth)

    @property
    def _off(self) -> bool:
        return self._client is None and self.config.judge != "dossier"

    async def _rank(self, vectors: Vector, depth: int) -> list[Ranking]:
        hits = await self._apart(self._gallery.search, vectors, depth)
        return [
            Ranking(tuple(ids), tuple(float(score) for score in scores))
            for ids, scores in zip(hits.ids, hits.scores, strict=True)
        ]

    @staticmethod
    async def _timed(stage: str, budget: Budget, step: Awaitable[T]) -> T:
        start = budget.clock()
        try:
            return await step
        finally:
            budget.spent(stage, start)
