"""The dialogue with an anchor asks what tells the candidates apart, where there are dossiers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np

from ctgi.captioning.composer import Composer
from ctgi.captioning.pool import default_pool
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.mti import MTI
from ctgi.interaction.refine import missing_questions
from ctgi.interaction.vocabulary import default_facets
from ctgi.mllm.chat import ChatReply, ChatRequest

FACETS = default_facets()
IDS = tuple("abcdefgh")


def look(number: int) -> dict[str, str]:
    """All women in red jackets; scarves part them evenly, hats leave out one, the rest is alike or unseen."""
    return {
        "gender/kind": "woman",
        "upper/kind": "jacket",
        "upper/colour": "red",
        "lower/kind": "trousers",
        "scarf/kind": "scarf" if number % 2 else "none",
        "hat/kind": "cap" if number == 7 else "none",
    }


def dossiers() -> Dossiers:
    tables = []
    for facet in FACETS:
        table = np.zeros((len(IDS), len(facet.values)), np.float32)
        for row in range(len(IDS)):
            table[row, facet.values.index(look(row).get(facet.key, "cannot tell"))] = 1.0
        tables.append(table)
    return Dossiers(FACETS, IDS, tuple(tables))


class Gallery:
    def search(self, vectors: np.ndarray, k: int) -> SimpleNamespace:
        rows = len(vectors)
        scores = np.tile(np.linspace(0.31, 0.3, len(IDS), dtype=np.float32), (rows, 1))
        return SimpleNamespace(ids=[list(IDS[:k])] * rows, scores=scores[:, :k])


class Model:
    model = "toy"

    async def chat(self, request: ChatRequest) -> ChatReply:
        return ChatReply("Cannot tell.", 0.9, None, 50, 5, 0.01)


def asked(questions: int, held: Dossiers | None, judge: str) -> list[str]:
    def encode(texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 2), np.float32)

    class Agrees(Model):
        async def chat(self, request: ChatRequest) -> ChatReply:
            if request.purpose == "judge":
                return ChatReply("yes", 0.9, {"yes": 0.9, "no": 0.1}, 50, 5, 0.01)
            return await super().chat(request)

    config = MTIConfig(judge=judge, xi=2, scale="cosine", questions=questions)
    picture = b"\x89PNG\r\n\x1a\n"
    pool = default_pool()
    mti = MTI(encode, Gallery(), Agrees(), lambda _: picture, pool, Composer(pool), config, dossiers=held)
    outcome = asyncio.run(mti.search("a woman in a red jacket"))
    return [pair.topic for pair in outcome.pairs]


def test_few_questions_are_the_most_telling_ones() -> None:
    for judge in ("hard", "dossier"):
        assert asked(1, dossiers(), judge) == ["scarf"]
        assert asked(2, dossiers(), judge) == ["scarf", "hat"]
    assert asked(2, None, "hard") != ["scarf", "hat"]  # without dossiers the pool's own order


def test_with_room_for_all_everything_is_asked_still() -> None:
    assert sorted(asked(13, dossiers(), "hard")) == sorted(asked(13, None, "hard"))


def test_worths_order_what_is_left_open_and_add_nothing() -> None:
    pool = default_pool()
    worths = {"upper": 3.0, "hat": 2.0, "shoes": 1.0}
    found = missing_questions(pool, "a man in a red jacket", (), 3, worths)
    assert [question.topic for question in found][:2] == ["hat", "shoes"]  # the jacket is known
    everything = missing_questions(pool, "a man in a red jacket", (), 99, worths)
    assert set(everything) == set(missing_questions(pool, "a man in a red jacket", (), 99))
