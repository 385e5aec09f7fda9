"""MTI whose judge asks the model about pictures, weighed by its probability, also when it is cut short."""

from __future__ import annotations

import asyncio

import pytest

from ctgi.interaction.anchor import Judged, Verdict
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.judging import judge_soft
from ctgi.interaction.mti import StopReason
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest
from tests.interaction.small_world import (
    Model,
    people,
    search,
)


def test_the_live_judge_is_weighed_by_its_probability() -> None:
    some, model = people(36), Model()
    outcome, _ = search(
        "someone in black jeans with a white cap", some, model=model, judge="soft", k=20, held=False
    )
    assert model.calls["judge"] == 20 == len(outcome.judged)
    first = some[outcome.ranking.ids[0]]
    assert first["lower"] == "black jeans" and first["hat"] == "white cap"
    assert outcome.anchor is not None and some[outcome.anchor]["hat"] == "white cap"


class Gone(Model):
    """Leaves after `quick` judgements."""

    def __init__(self, quick: int) -> None:
        super().__init__()
        self.quick = quick

    async def chat(self, request: ChatRequest) -> ChatReply:
        if self.calls["judge"] >= self.quick:
            raise ChatError("the server is gone", "unreachable")
        return await super().chat(request)


class Slow(Model):
    """Answers about the first `quick` pictures at once and about the others never."""

    def __init__(self, quick: int) -> None:
        super().__init__()
        self.quick = quick

    async def chat(self, request: ChatRequest) -> ChatReply:
        if self.calls["judge"] >= self.quick:
            assert request.deadline is not None
            await asyncio.sleep(min(request.deadline, 5.0))
            raise ChatError(f"no reply within {request.deadline:g} s", "deadline")
        return await super().chat(request)


@pytest.mark.parametrize("limit", ["deadline", "max_calls", "gone"])
def test_a_soft_search_that_is_cut_short_weighs_what_was_judged(limit: str) -> None:
    some, query = people(36), "someone in black jeans with a white cap"
    models = {"deadline": Slow(8), "max_calls": Model(), "gone": Gone(8)}
    settings = {"deadline": {"deadline": 0.4}, "max_calls": {"max_calls": 8}, "gone": {}}[limit]
    outcome, shelf = search(query, some, model=models[limit], judge="soft", held=False, wave=8, **settings)
    reason = {"deadline": StopReason.DEADLINE, "max_calls": StopReason.MAX_CALLS, "gone": "model_failed"}
    assert outcome.stop_reason == reason[limit] and len(outcome.judged) == 8 and outcome.note
    whole, _ = search(query, some, model=Model(), judge="soft", held=False, k=8, lam=1.0)
    assert outcome.ranking == whole.ranking != outcome.plain  # as if there had been no other candidates
    similarity = dict(zip(outcome.plain.ids, outcome.plain.scores, strict=True))
    now = dict(zip(outcome.ranking.ids, outcome.ranking.scores, strict=True))
    for name in outcome.plain.ids[8:]:
        assert now[name] == pytest.approx(similarity[name], abs=1e-6)


def test_a_soft_search_without_any_judgement_keeps_the_plain_ranking() -> None:
    outcome, _ = search("a woman", people(36), model=Slow(0), judge="soft", held=False, deadline=0.2)
    assert outcome.stop_reason is StopReason.DEADLINE and outcome.ranking == outcome.plain


def test_failed_judgements_of_the_soft_judge_keep_their_similarity() -> None:
    async def judge(name: str) -> Verdict:
        if name in ("a", "d"):
            raise ChatError("refused this picture", "request")
        return Verdict(name == "c", 0.9 if name == "c" else 0.1)

    judged: list[Judged] = []
    candidates = [(name, 0.5 - 0.01 * rank) for rank, name in enumerate("abcd")]
    found = asyncio.run(judge_soft(candidates, judge, judged, MTIConfig(wave=2), sure=False, another=None))
    assert [one.fits for one in judged] == [None, False, True, None] and found.cut_short is None
    assert found.evidence["a"] == found.evidence["d"] == 0 and found.evidence["b"] < 0 < found.evidence["c"]


def test_a_sure_top_candidate_still_ends_the_soft_search() -> None:
    model = Model()
    outcome, _ = search("a person", people(36), model=model, judge="soft", xi=0.1, held=False)
    assert outcome.stop_reason is StopReason.EARLY_STOP and model.calls == {"judge": 1}


def test_a_server_without_probabilities_is_taken_at_its_word() -> None:
    async def judge(name: str) -> Verdict:
        return Verdict(name == "b")

    judged: list[Judged] = []
    candidates = [("a", 0.5), ("b", 0.49), ("c", 0.48)]
    found = asyncio.run(judge_soft(candidates, judge, judged, MTIConfig(), sure=False, another=None))
    assert [anchor.id for anchor in found.anchors] == ["b"] and found.evidence["b"] > 0 > found.evidence["a"]


@pytest.mark.parametrize("max_calls", [1, 2, 4, 8])
def test_an_anchor_that_was_found_is_kept_when_calls_run_out(max_calls: int) -> None:
    some = people(36)
    outcome, _ = search("a woman in a red jacket", some, model=Model(), m=9, wave=1, max_calls=max_calls)
    assert outcome.calls <= max_calls and outcome.anchor is not None
    assert outcome.ranking.ids[0] == outcome.anchor and outcome.stop_reason is StopReason.REFINED
