"""MTI with every judge on a small world; with one anchor and the hard judge it is the paper's."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ctgi.captioning.composer import Composer
from ctgi.captioning.pair_filter import PairFilter
from ctgi.captioning.transcript import Pair
from ctgi.errors import CtgiError
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.mti import MTI, StopReason
from ctgi.interaction.rerank import Ranking, Scoring, merged, trusted
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest
from tests.interaction.small_world import (
    CHOICES,
    POOL,
    SHOWN,
    Model,
    Shelf,
    dossiers,
    encode,
    people,
    picture,
    search,
)


def the_paper(
    query: str, shelf: Shelf, k: int, lam: float, xi: float
) -> tuple[str | None, list[str], list[float]]:
    """Sec. 3.3 as it is written, sharing nothing with the implementation but the text writer and filter:
    one candidate after another, one question after another, Eq. 7 over the whole gallery in float64."""
    model, table = Model(), shelf.table.astype(np.float64)
    t_q = encode([query])[0].astype(np.float64)
    s_q = table @ t_q
    order = np.argsort(-s_q, kind="stable")

    def ask(name: str, text: str, purpose: str) -> ChatReply:
        messages = ({"role": "user", "content": [{}, {"text": text}]},)
        return asyncio.run(model.chat(ChatRequest(messages, purpose, "v", name)))

    def ranked(scores: np.ndarray) -> tuple[list[str], list[float]]:
        best = np.argsort(-scores, kind="stable")[:20]
        return [shelf.ids[i] for i in best], [float(scores[i]) for i in best]

    for row in order[:k]:
        if ask(shelf.ids[row], query, "judge").text == "yes":
            break
    else:
        return None, *ranked(s_q)
    anchor = shelf.ids[row]
    if row == order[0] and s_q[row] > xi:
        return anchor, *ranked(np.where(np.arange(len(s_q)) == row, 1.0, s_q))
    known, kept = query, []
    for question in POOL.missing(query):
        answer = ask(anchor, f"{question.question} Answer in one short sentence.", "answer").text
        if PairFilter(POOL).reason(question, answer, 0.9, known) is None:
            kept.append(Pair(question.topic, question.question, answer, 0.9, True, None))
            known = f"{known}\n{answer}"
    refined = Composer().compose(query, kept)
    s_refined = table @ encode([refined])[0].astype(np.float64)
    scores = (lam * s_q + (1 - lam) * s_refined) if kept else s_q
    scores[row] = 1.0
    return anchor, *ranked(scores)


QUERIES = (
    "a woman in a red jacket",
    "a man with short brown hair and a green backpack",
    "someone in black jeans with a white cap",
    "a woman with long black hair in a blue coat and grey shorts, carrying a brown handbag",
    "a person",
    "a man in a green hoodie and a purple jacket",
)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("k", "lam", "xi"), [(20, 0.8, 1.5), (3, 0.5, 1.5), (20, 0.3, 0.5)])
def test_one_anchor_and_the_hard_judge_are_the_papers_mti(query: str, k: int, lam: float, xi: float) -> None:
    some = people(36)
    outcome, shelf = search(query, some, model=Model(), held=False, k=k, lam=lam, xi=xi, judge="hard", m=1)
    anchor, names, scores = the_paper(query, shelf, k, lam, xi)
    assert outcome.anchor == anchor
    assert list(outcome.ranking.scores) == pytest.approx(scores, abs=1e-6)
    assert list(outcome.ranking.ids) == names
    whole = outcome.scores(shelf.table, shelf.ids)  # over the gallery, as the evaluation ranks it
    assert [shelf.ids[i] for i in np.argsort(-whole, kind="stable")[:20]] == names


def test_the_default_is_the_papers() -> None:
    config = MTIConfig()
    assert (config.judge, config.m, config.k, config.xi, config.lam) == ("hard", 1, 20, 0.85, 0.8)


def test_dossiers_judge_without_a_call_and_see_what_the_encoder_does_not() -> None:
    some = people(60)
    query = "someone with a brown handbag and a white cap"  # the encoder sees neither
    outcome, _ = search(query, some, judge="dossier", k=60, lam=0.9)
    assert outcome.calls == 0 and outcome.stop_reason is StopReason.REFINED
    right = {name for name, p in some.items() if p["bag"] == "brown handbag" and p["hat"] == "white cap"}
    assert len(right) >= 4 and set(outcome.ranking.ids[: len(right)]) == right
    assert set(outcome.plain.ids[: len(right)]) != right
    assert {"encode", "search", "read", "judge", "ask", "rewrite", "rerank", "total"} <= set(outcome.seconds)


def test_depth_is_free_and_finds_what_twenty_do_not() -> None:
    some = people(90)
    query = "someone with a brown handbag and a white cap"
    right = {name for name, p in some.items() if p["bag"] == "brown handbag" and p["hat"] == "white cap"}
    shallow, _ = search(query, some, judge="dossier", k=2, lam=1.0, depth=90)
    deep, _ = search(query, some, judge="dossier", k=90, lam=1.0, depth=90)
    assert len(shallow.judged) == 2 and len(deep.judged) == 90
    found = [len(right & set(outcome.ranking.ids[: len(right)])) for outcome in (shallow, deep)]
    assert found[0] < found[1] == len(right)


def test_a_wrong_detail_costs_a_place_and_not_the_person() -> None:
    some = people(60)
    name, person = next(iter(some.items()))
    wrong = next(hat for hat in CHOICES["hat"] if hat != person["hat"])
    said = {**person, "hat": wrong}
    query = "a {gender} with {hair} hair, a {upper}, {lower}, a {bag} and a {hat}".format(**said)
    others = [p for p in some.values() if p != person]
    assert said not in others
    soft, _ = search(query, some, judge="dossier", k=60)
    hard, _ = search(query, some, model=Model(), held=False)
    assert hard.anchor is None and hard.stop_reason is StopReason.NO_ANCHOR
    assert some[soft.ranking.ids[0]] == person and some[soft.ranking.ids[1]] == person
    assert name in soft.ranking.ids[:2]


def test_several_anchors_are_several_people_searched_as_one_batch() -> None:
    some = people(60)
    outcome, shelf = search("a woman in a red jacket", some, judge="dossier", k=60, m=3)
    shown = [some[anchor.id] for anchor in outcome.anchors]
    assert len(shown) == 3 and all(one != other for n, one in enumerate(shown) for other in shown[:n])
    assert all(p["gender"] == "woman" and p["upper"] == "red jacket" for p in shown)
    assert shelf.batches == [1, 3] and outcome.scoring is not None and len(outcome.scoring.vectors) == 3
    assert outcome.anchors[0].trust == 1 and all(0 < anchor.trust <= 1 for anchor in outcome.anchors)
    top = {tuple(some[name].items()) for name in outcome.ranking.ids[:6]}
    assert {tuple(p.items()) for p in shown} <= top  # each anchor's person is near the head


def test_without_dossiers_two_pictures_of_one_person_are_two_anchors_and_with_them_one() -> None:
    some = people(60)
    query = "a woman in a red jacket"
    apart, _ = search(query, some, model=Model(), held=False, m=2)
    told, _ = search(query, some, model=Model(), held=True, m=2)
    persons = [[some[anchor.id] for anchor in outcome.anchors] for outcome in (apart, told)]
    assert persons[0][0] == persons[0][1] and persons[1][0] != persons[1][1]
    assert apart.anchor == told.anchor == told.ranking.ids[0] and told.ranking.scores[0] == 1.0


def test_anchors_answer_from_their_dossier() -> None:
    model = Model()
    live, _ = search("a woman in a red jacket", people(36), model=Model(), held=False)
    held, _ = search("a woman in a red jacket", people(36), model=model)
    assert model.calls["answer"] == 0 < model.calls["judge"]
    assert held.refined_query == live.refined_query and held.ranking == live.ranking


def test_a_score_is_the_largest_of_eq_7_over_similarity_and_answers() -> None:
    """The definition, picture by picture, in float64."""
    from ctgi.interaction.persons import described_by
    from ctgi.interaction.reading import read_query
    from ctgi.interaction.soft import log_likelihood

    some, query = people(60), "a woman in a red jacket with a white cap"
    outcome, shelf = search(query, some, judge="dossier", k=60, m=2, lam=0.6, temperature=0.05, weight=0.7)
    held, config = dossiers(some), MTIConfig(doubt=0.1)
    reading = read_query(query, held.facets)
    t_q, table = encode([query])[0].astype(np.float64), shelf.table.astype(np.float64)
    as_given = table @ t_q + 0.05 * 0.7 * log_likelihood(held, reading, config)
    columns = []
    for anchor in outcome.anchors:
        lam = 1 - anchor.trust * (1 - 0.6)
        t_r = encode([anchor.refined_query or ""])[0].astype(np.float64)
        refined = described_by(held, int(held.rows([anchor.id])[0]), reading)
        joined = table @ t_r + 0.05 * 0.7 * log_likelihood(held, refined, config)
        columns.append(lam * as_given + (1 - lam) * joined)
    expected = dict(zip(shelf.ids, np.max(columns, axis=0), strict=True))
    assert len(columns) == 2
    for name, score in zip(outcome.ranking.ids, outcome.ranking.scores, strict=True):
        assert score == pytest.approx(expected[name], abs=1e-5)
    assert list(outcome.ranking.scores) == sorted(outcome.ranking.scores, reverse=True)
    assert outcome.scores(shelf.table, shelf.ids) == pytest.approx(list(expected.values()), abs=1e-5)


def test_a_query_that_says_nothing_known_keeps_the_plain_ranking() -> None:
    outcome, _ = search("the one from yesterday", people(36), judge="dossier")
    assert outcome.stop_reason is StopReason.NOTHING_READ and outcome.ranking == outcome.plain


def test_the_judge_needs_its_dossiers() -> None:
    with pytest.raises(CtgiError, match="ctgi index --dossiers"):
        MTI(encode, Shelf(people(4)), None, picture, POOL, Composer(), MTIConfig(judge="dossier"))


def test_pictures_without_a_dossier_stay_where_similarity_puts_them() -> None:
    some = people(36)
    SHOWN.clear()
    shelf = Shelf(some)
    empty = dossiers(dict(list(some.items())[:2]))
    config = MTIConfig(judge="dossier", scale="cosine", xi=1.5, depth=36, k=36)
    mti = MTI(encode, shelf, None, picture, POOL, Composer(), config, dossiers=empty)
    outcome = asyncio.run(mti.search("a person with a purple scarf"))
    strangers = [name for name in outcome.ranking.ids if name not in empty.ids]
    assert strangers == [name for name in outcome.plain.ids if name not in empty.ids]


def test_merging_keeps_the_best_of_each_picture() -> None:
    rankings = [Ranking(("a", "b"), (0.9, 0.5)), Ranking(("b", "c"), (0.8, 0.5))]
    assert merged(rankings) == Ranking(("a", "b", "c"), (0.9, 0.8, 0.5))
    assert trusted(0.8, 1.0) == 0.8 and trusted(0.8, 0.0) == 1.0
    table = np.eye(3, dtype=np.float32)
    scoring = Scoring(table[:2], {"c": np.array([0.25, 2.0])}, anchor="b")
    assert scoring.scores(table, ["a", "b", "c"]).tolist() == [1.0, np.inf, 2.0]


def test_a_refinement_that_fails_leaves_the_others() -> None:
    class Writer(Composer):
        async def rewrite(self, query: str, pairs: list[Pair]) -> str:  # type: ignore[override]
            if any("backpack" in pair.answer for pair in pairs):
                raise ChatError("the writer is gone", "overloaded")
            return await super().rewrite(query, pairs)

    class Broken(Composer):
        async def rewrite(self, query: str, pairs: list[Pair]) -> str:  # type: ignore[override]
            raise ChatError("the writer is gone", "overloaded")

    some = people(60)
    config = MTIConfig(judge="dossier", scale="cosine", xi=1.5, k=60, m=4)
    mti = MTI(encode, Shelf(some), None, picture, POOL, Writer(), config, dossiers=dossiers(some))
    outcome = asyncio.run(mti.search("a woman in a red jacket"))
    carried = {some[anchor.id]["bag"]: anchor.vector is not None for anchor in outcome.anchors}
    assert carried == {"green backpack": False, "brown handbag": True}
    assert outcome.stop_reason is StopReason.REFINED
    mti = MTI(encode, Shelf(some), None, picture, POOL, Broken(), config, dossiers=dossiers(some))
    outcome = asyncio.run(mti.search("a woman in a red jacket"))
    assert outcome.stop_reason is StopReason.MODEL_FAILED and "the writer is gone" in outcome.note
    assert len(outcome.anchors) == 4 and outcome.ranking.ids[0] == outcome.anchor  # the answers still count
