"""Captions made wrong in two ways, and what an interview that had gone so would have recorded.

Which captions are wrong is known here and where results are told; signals and training see captions and
interviews only.

Shuffled: the caption is another picture's, and with it the whole interview, as when files are mixed up.
The probabilities are then the other interview's: nobody asked the model about this picture, so the answers'
signal cannot see a shuffled caption.

Details: some kept answers say something else, and the caption is written from them by the same rules. What
the model would have recorded beside them is the probability that it gives to these very words about this
picture (`forced`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctgi.captioning.composer import Composer
from ctgi.captioning.transcript import Pair
from ctgi.datasets.pseudo import AnswerRecord, PseudoCaption
from demo.pedestrians.corruption import corrupt
from demo.pedestrians.language import TOPIC_ATTRIBUTES, answer, parse_answer

KINDS = ("shuffled", "details")
MOST_WRONG = 3
"""Answers changed in a caption with wrong details; all there are where it has fewer."""
_SEED = 41
_SUBJECT = re.compile(r"The [\w -]+? (?=is |has )")


@dataclass(frozen=True)
class WrongAnswer:
    """An answer that is to stand in the place of a row's pair."""

    row: int
    pair: int
    answer: str


@dataclass(frozen=True)
class Corrupted:
    """The captions in their pictures' order, and of each what is wrong with it ("" nothing)."""

    captions: tuple[PseudoCaption, ...]
    kinds: tuple[str, ...]


def wrong_answers(captions: Sequence[PseudoCaption], seed: int) -> list[WrongAnswer]:
    """For every caption the answers that would change in it, whether or not it will be chosen.

    A changed answer states another value; it never says that nothing is there, since a caption would then
    only be shorter. Captions whose answers offer nothing to change have none.
    """
    found = []
    for row, caption in enumerate(captions):
        rng = np.random.default_rng([seed, _SEED, row])
        kept = [number for number, pair in enumerate(caption.pairs) if pair.kept]
        changed = 0
        for number in rng.permutation(kept).tolist():
            other = _another(caption.pairs[number], rng)
            if other is not None and changed < MOST_WRONG:
                found.append(WrongAnswer(row, number, other))
                changed += 1
    return found


def corrupted(
    captions: Sequence[PseudoCaption],
    rate: float,
    wrong: Mapping[tuple[int, int], tuple[str, float | None]],
    composer: Composer,
    seed: int,
) -> Corrupted:
    """A share `rate` of the captions made wrong, every other one of them by shuffling.

    `wrong`: (row, pair) to another answer and its probability. Who is chosen at a low rate is chosen at every
    higher one. Where a caption has no detail to change it is shuffled instead.
    """
    chosen = np.random.default_rng([seed, _SEED]).permutation(len(captions))[: round(rate * len(captions))]
    alterable = {row for row, _ in wrong}
    details = [row for row in chosen[1::2].tolist() if row in alterable]
    result, kinds = list(captions), [""] * len(captions)
    for row in details:
        result[row], kinds[row] = _with_details(captions[row], row, wrong, composer), "details"
    shuffled = np.setdiff1d(chosen, details)
    for row, source in zip(*_moved(shuffled, captions), strict=True):
        if captions[row].identity != captions[source].identity:
            told = captions[source]
            result[row] = replace(
                captions[row], static_caption=told.static_caption, caption=told.caption, pairs=told.pairs
            )
            kinds[row] = "shuffled"
    return Corrupted(tuple(result), tuple(kinds))


def _moved(
    rows: NDArray[np.int64], captions: Sequence[PseudoCaption]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows, and the rows whose captions they get: ordered by person and moved by the largest group, so that
    nobody keeps one of his own unless most are of one person."""
    people = np.array([captions[row].identity for row in rows], dtype=np.int64)
    ordered = rows[np.argsort(people, kind="stable")]
    largest = int(np.unique(people, return_counts=True)[1].max(initial=0))
    return ordered, np.roll(ordered, largest)


def _another(pair: AnswerRecord, rng: np.random.Generator) -> str | None:
    stated = parse_answer(pair.topic, pair.answer)
    for _ in range(8):
        values = corrupt(stated, rng, 1, TOPIC_ATTRIBUTES[pair.topic])
        said = answer(pair.topic, values)
        nothing = any(values[name] in ("none", "nothing", "no") for name in values)
        if said is not None and not nothing and parse_answer(pair.topic, said) != stated:
            # The shirt stays a shirt when its pattern is another.
            subject = _SUBJECT.match(pair.answer)
            return said.replace("The garment ", subject.group()) if subject else said
    return None


def _with_details(
    caption: PseudoCaption,
    row: int,
    wrong: Mapping[tuple[int, int], tuple[str, float | None]],
    composer: Composer,
) -> PseudoCaption:
    pairs = tuple(
        replace(pair, answer=wrong[row, number][0], probability=wrong[row, number][1])
        if (row, number) in wrong
        else pair
        for number, pair in enumerate(caption.pairs)
    )
    told = [Pair(p.topic, p.question, p.answer, p.probability, p.kept, p.reason) for p in pairs]
    text = composer.compose(caption.static_caption, told, name_subject=True)
    return replace(caption, caption=text, pairs=pairs)
