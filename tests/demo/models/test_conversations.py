"""Lessons, read back: the answer is what is to be said, at its place, and nothing else is seen before."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from ctgi.captioning.pool import default_pool
from ctgi.mllm.prompt import Prompt
from demo.models.architecture import build_tokenizer
from demo.models.chat import ChatEncoder, rope_positions
from demo.models.conversations import JUDGEMENTS, Lesson, Script, Teacher
from demo.models.train_language import collate
from demo.pedestrians.attributes import sample_person
from demo.pedestrians.camera import sample_view
from demo.pedestrians.language import TOPIC_ATTRIBUTES, answer, parse_answer, static_caption
from demo.pedestrians.render import render

TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)


@pytest.fixture(scope="module")
def seen():
    """What three pictures show: two of one person, one of somebody else."""
    rng = np.random.default_rng(21)
    one, other = sample_person(rng), sample_person(rng)
    return [render(person, sample_view(rng))[1] for person in (one, one, other)]


@pytest.fixture(scope="module")
def words(seen):
    script, rng = Script(), np.random.default_rng(1)
    return build_tokenizer([text for visible in seen for text in script.texts(visible, rng)], 600)


@pytest.fixture(scope="module")
def teacher(words):
    return Teacher(ChatEncoder(words))


@pytest.fixture(scope="module")
def lessons(teacher, seen):
    return [teacher.lesson(*seen, np.random.default_rng([8, number])) for number in range(8)]


def branches(lesson: Lesson) -> list[list[int]]:
    """Places of every branch's tokens in the lesson, the prefix's first."""
    numbers = np.array(lesson.branch)
    prefix = np.flatnonzero(numbers == 0)
    return [[*prefix, *np.flatnonzero(numbers == number)] for number in range(1, numbers.max() + 1)]


def turns(lesson: Lesson, places: list[int], words) -> list[tuple[str, str]]:
    return TURN.findall(words.decode([lesson.ids[place] for place in places]))


def test_every_branch_is_a_whole_conversation(lessons, words):
    system = Prompt.load("system").fill()
    questions = {Prompt.load("answer").fill(question=question.question) for question in default_pool()}
    describe, judge = (
        Prompt.load("describe").fill(),
        "Does the person in the picture match this description? ",
    )
    picture = "<|vision_start|>" + "<|image_pad|>" * 27 + "<|vision_end|>"
    for lesson in lessons:
        judged = 0
        for number, places in enumerate(branches(lesson)):
            (role, said), *rest = turns(lesson, places, words)
            assert (role, said) == ("system", system)
            assert [role for role, _ in rest] == ["user", "assistant"] * (len(rest) // 2)
            asked = [text for role, text in rest if role == "user"]
            assert asked[0].startswith(picture) and picture not in "".join(asked[1:])
            asked[0] = asked[0].removeprefix(picture)
            judged += asked[0].startswith(judge)
            first = describe if number == 0 else asked[0]
            assert asked[0] == first
            assert all(text in questions or text.startswith(judge) for text in asked[number == 0 :])
        assert judged == JUDGEMENTS and words.decode(lesson.ids).count("<|image_pad|>") == 27


def test_targets_are_the_next_tokens_of_what_the_assistant_says(lessons, words):
    for lesson in lessons:
        lengths = {len(row) for row in (lesson.ids, lesson.branch, lesson.target, lesson.verdict)}
        assert lengths == {np.concatenate(lesson.positions, 1).shape[1]}
        for places in branches(lesson):
            target = [lesson.target[place] for place in places]
            for here, after in zip(range(len(places)), range(1, len(places)), strict=False):
                assert target[here] in (-100, lesson.ids[places[after]])
            said = words.decode([token for token in target if token != -100])
            spoken = [text for role, text in turns(lesson, places, words) if role == "assistant"]
            assert said == "".join(f"{text}<|im_end|>" for text in spoken)


def test_answers_are_true_of_the_picture(lessons, words, seen):
    visible = seen[0]
    topics = {Prompt.load("answer").fill(question=q.question): q.topic for q in default_pool()}
    told = set()
    for lesson in lessons:
        for places in branches(lesson):
            texts = [text for _, text in turns(lesson, places, words)][1:]
            for asked, said in zip(texts[::2], texts[1::2], strict=True):
                asked = asked.split("<|vision_end|>")[-1]
                if asked == Prompt.load("describe").fill():
                    assert said == static_caption(visible)
                elif asked in topics:
                    topic = topics[asked]
                    told.add(topic)
                    assert said == answer(topic, visible)
                    for name, value in parse_answer(topic, said).items():
                        assert name in TOPIC_ATTRIBUTES[topic] and visible[name] in (value, None)
    assert len(told) > 7


def test_verdicts_follow_from_claims_and_claims_end_inside_the_description(lessons, words):
    verdicts = {"yes": 0, "no": 0}
    for lesson in lessons:
        claims = dict(lesson.claims)
        assert len(claims) == len(lesson.claims)
        judged = 0
        for places in branches(lesson):
            own = [place for place in places if lesson.branch[place] > 0 and place in claims]
            spoken = turns(lesson, places, words)[-1][1]
            is_verdict = any(lesson.verdict[place] for place in places if lesson.branch[place])
            if not is_verdict:
                assert not own
                continue
            judged += len(own)
            verdicts[spoken] += 1
            assert (spoken == "yes") == all(claims[place] for place in own)
            text = words.decode([lesson.ids[place] for place in places])
            start = text.index("description? ") + len("description? ")
            end = text.rindex(" Answer yes or no.")
            for place in own:
                until = len(words.decode([lesson.ids[p] for p in places if p <= place]))
                assert start < until <= end + 1
        assert judged == len(claims)
    assert min(verdicts.values()) >= 6


def test_positions_are_those_of_each_branch_alone(lessons, teacher):
    for lesson in lessons:
        packed = np.concatenate(lesson.positions, 1)
        for places in branches(lesson):
            alone = rope_positions([lesson.ids[place] for place in places], teacher.encoder.image_pad)
            np.testing.assert_array_equal(packed[:, places], alone)


def test_equal_generators_give_equal_lessons(teacher, seen):
    one, again, other = (teacher.lesson(*seen, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.ids == again.ids and one.claims == again.claims and one.ids != other.ids


def test_batches_are_padded_on_the_right_and_keep_everything(lessons):
    batch = collate(lessons[:4], pad=0)
    longest = max(len(lesson.ids) for lesson in lessons[:4])
    assert batch["ids"].shape == (4, longest) and batch["positions"].shape == (3, 4, longest)
    for row, lesson in enumerate(lessons[:4]):
        length = len(lesson.ids)
        assert batch["ids"][row, :length].tolist() == lesson.ids and batch["lengths"][row] == length
        assert (batch["target"][row, length:] == -100).all() and not batch["verdict"][row, length:].any()
        mine = batch["claims"][batch["claims"][:, 0] == row][:, 1:]
        assert torch.equal(mine, torch.tensor([[place, holds] for place, holds in lesson.claims]))
