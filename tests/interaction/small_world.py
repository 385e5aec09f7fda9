"""A small world to search: people who differ in six things, an encoder of words, a model that answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import product
from types import SimpleNamespace

import numpy as np

from ctgi.captioning.composer import Composer
from ctgi.captioning.pool import default_pool
from ctgi.interaction.answers import read_answers
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Answer, Dossiers
from ctgi.interaction.dossier_store import packed_answers
from ctgi.interaction.mti import MTI, SearchOutcome
from ctgi.interaction.vocabulary import default_vocabulary
from ctgi.mllm.chat import ChatError, ChatReply, ChatRequest

POOL = default_pool()
QUESTIONS = {question.topic: question for question in POOL}
ASKED = {question.question: question.topic for question in POOL}
SENTENCES = {
    "gender": "The person is a {}.",
    "hair": "The person has {} hair.",
    "upper": "The person wears a {}.",
    "lower": "The person wears {}.",
    "bag": "The person carries a {}.",
    "hat": "The person wears a {}.",
}
CHOICES = {
    "gender": ("man", "woman"),
    "hair": ("long black", "short brown"),
    "upper": ("red jacket", "blue coat", "green hoodie"),
    "lower": ("black jeans", "grey shorts"),
    "bag": ("green backpack", "brown handbag"),
    "hat": ("white cap", "black beanie"),
}
WORDS = sorted({word for values in CHOICES.values() for value in values for word in value.split()})


def people(count: int, seed: int = 0) -> dict[str, dict[str, str]]:
    """Different people, two pictures each."""
    every = [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())]
    chosen = np.random.default_rng(seed).permutation(len(every))[: count // 2]
    return {f"{row:02d}{view}": every[row] for row in chosen for view in "ab"}


def encode(texts: list[str]) -> np.ndarray:
    """A text as its words. The encoder does not see bags and hats: that is what answers are good for."""
    seen = [word for word in WORDS if not any(word in v for t in ("bag", "hat") for v in CHOICES[t])]
    rows = [
        [0.3 + text.lower().replace(".", " ").replace(",", " ").split().count(word) for word in seen]
        for text in texts
    ]
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Shelf:
    """A gallery by brute force; a picture's vector is its person's with a little of its own."""

    def __init__(self, some: dict[str, dict[str, str]]) -> None:
        self.ids = list(some)
        own = np.random.default_rng(1).normal(0, 0.03, (len(some), len(encode(["x"])[0])))
        table = encode([" ".join(person.values()) for person in some.values()]) + own.astype(np.float32)
        self.table = table / np.linalg.norm(table, axis=1, keepdims=True)
        self.batches: list[int] = []

    def search(self, vectors: np.ndarray, k: int) -> SimpleNamespace:
        self.batches.append(len(vectors))
        scores = vectors @ self.table.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return SimpleNamespace(
            ids=[[self.ids[i] for i in row] for row in order],
            scores=np.take_along_axis(scores, order, axis=1),
        )

    def vectors(self, ids: list[str]) -> np.ndarray:
        return self.table[[self.ids.index(name) for name in ids]]


class Model:
    """Looks at the picture it is shown; says "yes" if it has every word of the description that it knows."""

    model = "toy"

    def __init__(self, fail: str = "") -> None:
        self.calls: Counter[str] = Counter()
        self.fail = fail

    async def chat(self, request: ChatRequest) -> ChatReply:
        self.calls[request.purpose] += 1
        if request.purpose == self.fail:
            raise ChatError("the server is gone", "unreachable")
        person = json.loads(SHOWN[request.picture_id or ""])
        asked = request.messages[-1]["content"][1]["text"]
        if request.purpose == "judge":
            said = set(asked.lower().replace(".", " ").replace(",", " ").split()) & set(WORDS)
            share = len(said & set(" ".join(person.values()).split())) / len(said) if said else 1.0
            yes = 0.05 + 0.9 * share
            return ChatReply("yes" if share == 1 else "no", 0.9, {"yes": yes, "no": 1 - yes}, 50, 1, 0.0)
        topic = ASKED[asked.removesuffix(" Answer in one short sentence.")]
        text = SENTENCES[topic].format(person[topic]) if topic in person else "Cannot tell."
        return ChatReply(text, 0.9, None, 50, 8, 0.0)


SHOWN: dict[str, str] = {}


def picture(name: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + SHOWN[name].encode()


def dossiers(some: dict[str, dict[str, str]]) -> Dossiers:
    """What each picture answers, read as at enrolment."""
    vocabulary = default_vocabulary()
    rows, said = [], []
    for person in some.values():
        texts = {t: SENTENCES[t].format(person[t]) if t in person else "Cannot tell." for t in QUESTIONS}
        replies = {t: ChatReply(text, 0.9, None, 1, 1, 0.0) for t, text in texts.items()}
        rows.append(read_answers(replies, QUESTIONS, vocabulary))
        said.append(packed_answers(Answer(topic, text, 0.9) for topic, text in texts.items()))
    tables = tuple(np.stack(tables) for tables in zip(*rows, strict=True))
    return Dossiers(vocabulary.facets, tuple(some), tables, "toy", "p", tuple(said))


def search(
    query: str,
    some: dict[str, dict[str, str]],
    *,
    model: Model | None = None,
    held: bool = True,
    **settings: object,
) -> tuple[SearchOutcome, Shelf]:
    SHOWN.clear()
    SHOWN.update({name: json.dumps(person) for name, person in some.items()})
    shelf = Shelf(some)
    config = MTIConfig(scale="cosine", **{"xi": 1.5, "depth": 20, **settings})  # type: ignore[arg-type]
    mti = MTI(
        encode, shelf, model, picture, POOL, Composer(), config, dossiers=dossiers(some) if held else None
    )
    return asyncio.run(mti.search(query)), shelf
