"""What the small Qwen2-VL is taught to say: interviews, single questions and judgements about one picture.

One lesson is one sequence: the system message and the picture once, then several *branches* that each
continue from there as if they were alone. So a picture is looked at once for a dozen answers. The prompts are
the library's own, token by token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.pool import default_pool
from ctgi.mllm.prompt import Prompt
from demo.models.chat import ChatEncoder, rope_positions
from demo.pedestrians.attributes import ATTRIBUTES
from demo.pedestrians.corruption import corrupt
from demo.pedestrians.descriptions import STYLES, Description, describe
from demo.pedestrians.language import answer, static_caption
from demo.pedestrians.queries import seen_by_cameras
from demo.pedestrians.visibility import CANNOT_TELL

Visible = dict[str, str | None]

INTERVIEW_TURNS, SINGLE_QUESTIONS, JUDGEMENTS = 2, 2, 8


@dataclass
class Lesson:
    """``ids``, ``branch`` (L,) and ``positions`` (3, L); ``target`` (L,) the next token to say or -100;
    ``verdict`` marks the targets that are judgements; ``claims`` are (place, truth) of single claims;
    ``values`` (place, claimed, shown) the values that claims and picture give an attribute, numbered as
    ``value_number`` does."""

    ids: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    verdict: list[bool] = field(default_factory=list)
    claims: list[tuple[int, bool]] = field(default_factory=list)
    values: list[tuple[int, int, int]] = field(default_factory=list)


def value_number(attribute: str, value: str) -> int:
    """A value's number over all attributes, each attribute's values followed by "cannot tell"."""
    return _NUMBER[attribute, value]


_NUMBER = {
    key: number
    for number, key in enumerate(
        (name, value) for name, values in ATTRIBUTES.items() for value in (*values, CANNOT_TELL)
    )
}


class Script:
    """The library's prompts and questions, and every text that lessons are made of."""

    def __init__(self) -> None:
        self.system = Prompt.load("system").fill()
        self.describe = Prompt.load("describe").fill()
        self.ask, self.judge = Prompt.load("answer"), Prompt.load("judge")
        self.questions = {question.topic: question.question for question in default_pool()}

    def texts(self, visible: Visible, rng: np.random.Generator) -> Iterator[str]:
        """Every kind of text that occurs in lessons, for the tokenizer to learn from."""
        yield from (self.system, self.describe, static_caption(visible))
        for topic, question in self.questions.items():
            yield self.ask.fill(question=question)
            yield answer(topic, visible) or ""
        for _ in range(3):
            text = describe(
                visible, rng, int(rng.integers(1, 9)), 0.5, STYLES[int(rng.integers(len(STYLES)))]
            ).text
            yield self.judge.fill(description=text)
        yield from ("yes", "no", "assistant\n", "user\n", "system\n")


class Teacher(Script):
    """Writes lessons as token ids."""

    def __init__(self, encoder: ChatEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def lesson(self, visible: Visible, also: Visible, other: Visible, rng: np.random.Generator) -> Lesson:
        """``also``: another view of the same person; ``other``: somebody else."""
        lesson = Lesson()
        topics = [topic for topic in self.questions if answer(topic, visible) is not None]
        order = [topics[i] for i in rng.permutation(len(topics))]
        turns = [(self.describe, static_caption(visible))]
        turns += [self._question(topic, visible) for topic in order[:INTERVIEW_TURNS]]
        self._branch(lesson, turns)
        for topic in order[INTERVIEW_TURNS:][:SINGLE_QUESTIONS]:
            self._branch(lesson, [self._question(topic, visible)])
        person = seen_by_cameras((also, visible))
        for _ in range(JUDGEMENTS):
            about = [person, visible, other][int(rng.choice(3, p=(0.45, 0.2, 0.35)))]
            if about is not other and rng.random() < 0.45:
                about = corrupt(about, rng, int(rng.integers(1, 3)))
            style = "rambling" if rng.random() < 0.015 else None
            text = describe(about, rng, int(rng.choice([1, 2, 3, 4, 5, 6, 8])), 0.4, style, negations=0.2)
            self._judgement(lesson, text, visible)
        return lesson

    def _question(self, topic: str, visible: Visible) -> tuple[str, str]:
        return self.ask.fill(question=self.questions[topic]), answer(topic, visible) or ""

    def _judgement(self, lesson: Lesson, description: Description, visible: Visible) -> None:
        verdicts = [phrase.holds(visible) for phrase in description.phrases]
        word = "no" if False in verdicts else "yes"
        prompt = self.judge.fill(description=description.text)
        at = prompt.index(description.text)
        before = len(lesson.ids)
        prefix = self._branch(lesson, [(prompt, word)], verdict=True)
        # The place of a claim is the token in which it ends, found by counting the tokens up to there.
        for phrase, holds in zip(description.phrases, verdicts, strict=True):
            place = before + len(self.encoder.text_ids(prompt[: at + phrase.end])) - 1
            place += prefix if before == 0 else 0
            if holds is not None:
                lesson.claims.append((place, holds))
            for attribute, claimed in phrase.attribute_values.items():
                shown = visible[attribute]
                if shown is not None:
                    numbers = value_number(attribute, claimed), value_number(attribute, shown)
                    lesson.values.append((place, *numbers))

    def _branch(self, lesson: Lesson, turns: list[tuple[str, str]], verdict: bool = False) -> int:
        messages: list[dict[str, object]] = [{"role": "system", "content": self.system}]
        for number, (said, reply) in enumerate(turns):
            content: object = [{"type": "image"}, {"type": "text", "text": said}] if number == 0 else said
            messages += [{"role": "user", "content": content}, {"role": "assistant", "content": reply}]
        chat = self.encoder.encode(messages, generation_prompt=False)
        positions = rope_positions(chat.ids, self.encoder.image_pad)
        prefix = chat.ids.index(self.encoder.vision_end) + 1
        target = np.full(len(chat.ids), -100)
        for start, end in chat.answers:
            target[start - 1 : end - 1] = chat.ids[start:end]
        skip = prefix if lesson.ids else 0
        branch = max(lesson.branch, default=0) + 1
        lesson.ids += chat.ids[skip:]
        lesson.branch += [0] * (prefix - skip) + [branch] * (len(chat.ids) - prefix)
        lesson.positions.append(positions[:, skip:])
        lesson.target += target[skip:].tolist()
        lesson.verdict += [verdict] * (len(chat.ids) - skip)
        return prefix
