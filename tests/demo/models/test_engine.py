"""Answers must not depend on who shares the batch, on what the prefix cache holds, or on the short cuts
taken."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from demo.models.chat import ChatEncoder
from demo.models.fixed_grid import to_array, to_pixels
from demo.models.server import engine as engine_module
from demo.models.server.engine import Engine
from demo.models.server.errors import ApiError
from demo.models.server.grammar import ChoiceTree
from demo.models.server.job import Job
from demo.models.server.pictures import Picture
from demo.models.server.protocol import read_call

GRID = torch.tensor([[1, 18, 6]])
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


class Bench:
    """An engine and the least that is needed to ask it something."""

    def __init__(self, model, tokenizer, picture, **sizes):
        self.engine = Engine(model, tokenizer, **{"rows": 6, "context": 256, "prefix_blocks": 256, **sizes})
        self.encoder = ChatEncoder(tokenizer)
        self.draw = picture
        self.pictures: dict[int, Picture] = {}

    def job(self, question, *, picture=None, before=(), **body):
        content = [{"type": "text", "text": question}]
        if picture is not None and not before:
            content = [IMAGE, *content]
        messages = [{"role": "system", "content": "You look at a picture."}, *before]
        messages.append({"role": "user", "content": content})
        call = read_call(
            {"messages": messages, "temperature": 0, "logprobs": True, "top_logprobs": 3, **body}, "m"
        )
        shown = []
        if picture is not None:
            pixels = to_array(self.draw(picture)).copy()
            shown = [self.pictures.setdefault(picture, Picture(picture + 1, pixels))]
        ends = self.engine.end
        tree = (
            ChoiceTree.of([(t, self.encoder.text_ids(t)) for t in call.choices], ends)
            if call.choices
            else None
        )
        answers = []
        job = Job(
            call, self.encoder.encode(call.messages), shown,
            image_pad=self.encoder.image_pad, context=self.engine.context, tree=tree, on_done=answers.append,
        )  # fmt: skip
        job.answers = answers
        return job

    def run(self, *jobs):
        self.engine.waiting.extend(jobs)
        while self.engine.busy:
            self.engine.step()
        for job in jobs:
            (answer,) = job.answers
            if isinstance(answer, Exception):
                raise answer
        return [job.answers[0] for job in jobs]

    def ask(self, question, **body):
        return self.run(self.job(question, **body))[0]


@pytest.fixture
def bench(model, tokenizer, picture):
    return lambda **sizes: Bench(model, tokenizer, picture, **sizes)


def same(a, b):
    assert (a.text, a.finish_reason, a.prompt_tokens) == (b.text, b.finish_reason, b.prompt_tokens)
    assert [r.token for r in a.records] == [r.token for r in b.records]
    assert [r.logprob for r in a.records] == pytest.approx([r.logprob for r in b.records], abs=1e-3)


MIXED = [
    {"question": "Is the person wearing a hat?", "picture": 0, "max_tokens": 9},
    {"question": "Is the person wearing a hat?", "picture": 1, "max_tokens": 3},
    {"question": "What?", "max_tokens": 12},
    {"question": "Does the person match this? A red jacket, and much more text.", "picture": 0,
     "structured_outputs": {"choice": ["yes", "no"]}},
    {"question": "Draw", "picture": 2, "max_tokens": 8, "temperature": 1.0, "seed": 5},
    {"question": "Draw", "picture": 2, "max_tokens": 8, "temperature": 0.8, "top_p": 0.9, "seed": 6},
    {"question": "Form", "max_tokens": 30, "response_format": {"type": "json_schema", "json_schema": {
        "name": "a", "schema": {"type": "object", "properties": {"bag": {"enum": ["red", "none"]}}}}}},
    {"question": "One", "max_tokens": 1},
    {"question": "Which?", "picture": 3, "structured_outputs": {"choice": ["red", "red jacket", "blue"]}},
]  # fmt: skip


def test_alone_in_a_batch_and_from_the_cache_answers_are_the_same(bench):
    uncached = [bench(prefix_blocks=0).ask(**asked) for asked in MIXED]
    together = bench()
    first = together.run(*[together.job(**asked) for asked in MIXED])
    again = together.run(*[together.job(**asked) for asked in MIXED])
    for alone, batched, cached in zip(uncached, first, again, strict=True):
        same(alone, batched)
        same(alone, cached)
        assert alone.cached_tokens == 0
        assert cached.prompt_tokens - 9 < cached.cached_tokens < cached.prompt_tokens
    assert len({a.text for a in uncached}) > 5  # the model does have opinions to disturb


def test_greedy_equals_transformers_generate(bench, model):
    asked = bench()
    job = asked.job("What is the person wearing?", picture=3, max_tokens=12)
    (ours,) = asked.run(job)
    ids = torch.tensor([job.ids])
    kinds = (ids == asked.encoder.image_pad).int()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds,
            pixel_values=torch.from_numpy(to_pixels(asked.draw(3))), image_grid_thw=GRID,
            max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    generated = [t for t in out[0, ids.shape[1] :].tolist() if t not in asked.engine.ends]
    assert [r.token for r in ours.records] == generated


def test_pictures_are_seen_and_not_confused(bench):
    one = bench()
    texts = {one.ask("Describe.", picture=n, max_tokens=8).text for n in (0, 1, 2)}
    assert len(texts) == 3


@pytest.mark.parametrize("order", list(itertools.permutations(["red jacket", "red", "blue trousers"])))
def test_choices_are_scored_as_decoding_would_score_them(bench, model, order):
    """Against the stock model, fed with prompt and choice one after the other."""
    asked = bench()
    # The last choice is picked whatever its weight, so that every branch is looked at, behind all others.
    picked = order[-1]
    job = asked.job("Which?", picture=1, structured_outputs={"choice": list(order)})
    paths = {text: [*asked.encoder.text_ids(text), asked.engine.end] for text in order}
    seen = {}

    def spy(job, prompt_logits, node_logits, end):
        seen["after"] = [prompt_logits.clone(), *node_logits.clone()]
        return picked, []

    engine_module.walk, real = spy, engine_module.walk
    try:
        asked.run(job)
    finally:
        engine_module.walk = real
    node = -1
    written: list[int] = []
    for token in paths[picked]:
        ids = torch.tensor([[*job.ids, *written]])
        with torch.inference_mode():
            stock = model(
                input_ids=ids, mm_token_type_ids=(ids == asked.encoder.image_pad).int(),
                pixel_values=torch.from_numpy(to_pixels(asked.draw(1))), image_grid_thw=GRID,
            ).logits[0, -1]  # fmt: skip
        torch.testing.assert_close(seen["after"][node + 1], stock, atol=1e-3, rtol=1e-3)
        branches = job.tree.children[node]
        assert set(branches) == {
            path[len(written)]
            for path in paths.values()
            if path[: len(written)] == written and len(path) > len(written)
        }
        node = branches[token]
        written.append(token)
    assert node == picked


def test_the_likeliest_branch_is_taken_and_told(bench):
    asked = bench()
    tree_free = bench()
    choices = ["red jacket", "red", "blue trousers"]
    ours = asked.ask("Which?", picture=1, structured_outputs={"choice": choices}, top_logprobs=5)
    firsts = {asked.encoder.text_ids(text)[0] for text in choices}
    top = dict(ours.records[0].top)
    assert set(top) == firsts
    assert ours.records[0].token == max(top, key=top.get)
    assert ours.records[0].logprob == top[ours.records[0].token]
    # The log-probabilities are those of the whole vocabulary, as in an answer that is held to nothing.
    free = dict(tree_free.ask("Which?", picture=1, max_tokens=1, top_logprobs=20).records[0].top)
    for token in firsts & set(free):
        assert top[token] == pytest.approx(free[token], abs=1e-3)
    assert sum(math.exp(p) for p in top.values()) < 1
    path = [*asked.encoder.text_ids(ours.text)]
    assert [record.token for record in ours.records] == path


def test_drawn_choices_follow_the_probabilities(bench):
    asked = bench(rows=32)
    body = {"structured_outputs": {"choice": ["yes", "no"]}, "temperature": 1.0}
    jobs = [asked.job("Well?", seed=seed, **body) for seed in range(400)]
    answers = asked.run(*jobs)
    top = dict(answers[0].records[0].top)
    yes, no = (math.exp(top[asked.encoder.text_ids(t)[0]]) for t in ("yes", "no"))
    share = yes / (yes + no)
    seen = sum(a.text == "yes" for a in answers) / 400
    assert abs(seen - share) < 4 * math.sqrt(share * (1 - share) / 400) + 1e-9


def test_the_next_turn_computes_only_what_is_new(bench):
    asked = bench()
    first = asked.ask("Describe the person.", picture=0, max_tokens=20)
    before = [
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "Describe the person."}]},
        {"role": "assistant", "content": "The person wears a red jacket."},
    ]
    second = asked.job("And the bag?", picture=0, before=before, max_tokens=4)
    fresh = bench(prefix_blocks=0)
    same(
        asked.run(second)[0], fresh.run(fresh.job("And the bag?", picture=0, before=before, max_tokens=4))[0]
    )
    assert second.cached >= first.prompt_tokens - 8
    assert asked.engine.metrics.pictures._value.get() == 1


def test_equal_beginnings_that_arrive_together_are_computed_once(bench):
    asked = bench()
    jobs = [asked.job(f"Question {n}?", picture=0, max_tokens=2) for n in range(5)]
    asked.run(*jobs)
    assert [job.cached > 27 for job in jobs] == [False, True, True, True, True]


def test_a_small_cache_forgets_but_never_errs(bench):
    small = bench(prefix_blocks=32)
    fresh = [bench(prefix_blocks=0).ask("Describe.", picture=n, max_tokens=6) for n in range(6)]
    for _ in range(2):
        for n in range(6):
            same(small.ask("Describe.", picture=n, max_tokens=6), fresh[n])
    assert len(small.engine.prefix.known) + len(small.engine.prefix.free) == 32
    alive = {number for number, _ in small.engine.prefix.known.values()}
    assert {before for before, _ in small.engine.prefix.known} <= alive | {
        0
    }  # no block outlives what it stands on
    places = [place for _, place in small.engine.prefix.known.values()] + small.engine.prefix.free
    assert sorted(places) == list(range(32))


def test_a_schema_is_kept_at_every_temperature(bench):
    asked = bench()
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "maxLength": 12},
            "sure": {"type": "boolean"},
            "many": {"type": "integer"},
        },
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for temperature in (0, 0.01, 1.5):
        answer = asked.ask("Form?", temperature=temperature, seed=3, max_tokens=150, response_format=form)
        assert answer.finish_reason == "stop"
        value = json.loads(answer.text)
        assert list(value) == ["answer", "sure", "many"]
        assert isinstance(value["answer"], str) and len(value["answer"]) <= 12
        assert isinstance(value["sure"], bool) and isinstance(value["many"], int)


def test_stop_text_and_length_end_an_answer(bench):
    asked = bench()
    free = asked.ask("Describe.", picture=0, max_tokens=12)
    assert free.finish_reason == "length" and free.completion_tokens == 12
    stop = free.text[5:8]
    cut = asked.ask("Describe.", picture=0, max_tokens=12, stop=[stop])
    assert cut.finish_reason == "stop" and cut.text == free.text[: free.text.index(stop)]


def test_an_answer_that_can_never_fit_is_refused_and_a_long_one_ends_in_time(bench):
    asked = bench(context=64)
    with pytest.raises(ApiError, match="64 tokens"):
        asked.job("word " * 80)
    with pytest.raises(ApiError, match="may take 60"):
        asked.job("Well?", max_tokens=60)
    endless = asked.ask("Well?")
    assert endless.finish_reason in ("length", "stop")
    assert endless.prompt_tokens + endless.completion_tokens <= 64


def test_given_up_jobs_leave_and_faults_reach_everyone(bench, monkeypatch):
    asked = bench()
    staying, leaving, late = (asked.job(f"Number {n}", max_tokens=30) for n in range(3))
    asked.engine.waiting.extend([leaving, staying])
    asked.engine.step()
    asked.engine.step()
    leaving.cancelled = True
    asked.engine.step()
    assert [job is staying for job in asked.engine.running] == [True]
    same(asked.run(late)[0], bench().ask("Number 2", max_tokens=30))
    same(staying.answers[0], bench().ask("Number 0", max_tokens=30))
    assert not leaving.answers

    broken = asked.job("Broken")
    asked.engine.waiting.append(broken)
    monkeypatch.setattr(asked.engine.text, "forward", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        asked.engine.step()
    asked.engine.fail_all(ApiError("failed", status=500))
    assert isinstance(broken.answers[0], ApiError)
    monkeypatch.undo()
    assert asked.ask("One", max_tokens=2).completion_tokens <= 2
