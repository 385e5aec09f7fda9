"""Lessons, read back: the answer is what is to be said, at its place, and nothing else is seen before."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from ctgi.captioning.pool import default_pool
from ctgi.mllm.prompt import Prompt
from demo.models.architecture import build_tokenizer
from demo.models.attribute_heads import CLASSES
from demo.models.chat import ChatEncoder, rope_positions
from demo.models.claim_probe import ClaimProbe
from demo.models.conversations import JUDGEMENTS, Lesson, Script, Teacher, value_number
from demo.models.train_language import collate
from demo.pedestrians.attributes import ATTRIBUTES, sample_person
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


def test_values_are_what_the_claims_say_and_the_picture_shows(lessons, seen):
    visible = seen[0]
    names = {value_number(name, value): (name, value)
             for name, values in ATTRIBUTES.items() for value in (*values, "cannot tell")}  # fmt: skip
    assert sorted(names) == list(range(sum(CLASSES)))
    for lesson in lessons:
        claims, agree = dict(lesson.claims), {}
        for place, claimed, shown in lesson.values:
            (attribute, _), (same, value) = names[claimed], names[shown]
            assert attribute == same and visible[attribute] == value
            agree.setdefault(place, []).append(claimed == shown)
        for place, holds in claims.items():
            assert not holds or all(agree[place])


def test_the_probe_learns_claims_from_states_that_tell() -> None:
    """States that hold the answers, one per layer: every loss goes to zero; they are means of cross-entropies
    of uniform guesses before."""
    torch.manual_seed(0)
    probe = ClaimProbe(sum(CLASSES))
    for layer in (probe.claimed, probe.shown, probe.agrees):
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    claims = torch.tensor([[0, 1, 1], [0, 2, 0]])
    first = CLASSES[0]  # the number of the second attribute's first value
    values = torch.tensor([[0, 1, 0, 0], [0, 2, first, first + 1]])
    claimed, shown, agrees = (torch.zeros(1, 3, sum(CLASSES)) for _ in range(3))
    claimed[0, [1, 2], [0, first]] = shown[0, [1, 2], [0, first + 1]] = agrees[0, 1, 0] = 1.0
    got = probe([claimed, shown, agrees], claims, values)
    expected = [np.log(2), np.log(sum(CLASSES)), np.mean(np.log(CLASSES[:2]))]
    np.testing.assert_allclose([loss.item() for loss in got], expected, rtol=1e-5)
    optimiser = torch.optim.Adam(probe.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        sum(probe([claimed, shown, agrees], claims, values)).backward()
        optimiser.step()
    assert all(loss.item() < 0.05 for loss in probe([claimed, shown, agrees], claims, values))


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
        assert batch["values"][batch["values"][:, 0] == row][:, 1:].tolist() == [*map(list, lesson.values)]
