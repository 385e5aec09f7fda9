"""Queries are true of their identity, or wrong in the one detail they say, and come in all lengths."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from demo.pedestrians.attributes import ATTRIBUTES, sample_person
from demo.pedestrians.corruption import corrupt
from demo.pedestrians.queries import KINDS, Query, kinds_of, seen_by_cameras, write_queries, write_query
from demo.pedestrians.words import SYNONYMS

TRUTHS = {
    identity: corrupt(sample_person(np.random.default_rng(identity)), np.random.default_rng(0), 0)
    for identity in range(120)
}


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    return write_queries(TRUTHS, seed=7, per_identity=8)


def test_every_claim_is_true_but_the_one_that_is_said_to_be_wrong(queries: list[Query]) -> None:
    for query in queries:
        truth = TRUTHS[query.identity]
        false = {name for name, value in query.claims.items() if truth[name] != value}
        # A thing that is not there brings its colour with it.
        assert {name for name in false if truth[name] is not None} == (
            {query.wrong} if query.wrong else set()
        )
        assert (query.kind == "wrong-detail") == (query.wrong is not None)


def test_all_kinds_are_written_about_as_often_as_planned(queries: list[Query]) -> None:
    counts = Counter(query.kind for query in queries)
    assert set(counts) == set(KINDS)
    for kind, share in KINDS.items():
        assert abs(counts[kind] / len(queries) - share) < 0.06, kind


def test_a_handful_of_people_already_has_every_kind() -> None:
    for first in (0, 30, 275):
        some = write_queries({n: TRUTHS[n % 120] for n in range(first, first + 6)}, seed=3, per_identity=4)
        assert {query.kind for query in some} == set(KINDS)


@pytest.mark.parametrize("count", [1, 4, 8, 30])
def test_of_each_kind_an_identity_has_its_share_up_to_rounding(count: int) -> None:
    for identity in range(40):
        written = Counter(kinds_of(identity, count, np.random.default_rng(identity)))
        assert sum(written.values()) == count
        for kind, share in KINDS.items():
            assert abs(written[kind] - share * count) < 1, (identity, kind)


def test_lengths_run_from_a_few_words_to_beyond_248(queries: list[Query]) -> None:
    # Every word is a token at least, so these have more than 77 and 248 tokens with any tokenizer.
    words = np.array([len(query.text.split()) for query in queries])
    assert (words < 12).mean() > 0.15
    assert (words > 77).mean() > 0.02
    assert 0 < (words > 248).mean() < 0.05


def test_a_negation_names_something_that_is_not_there(queries: list[Query]) -> None:
    for query in queries:
        if query.kind == "negation":
            assert any(value in ("none", "nothing", "no") for value in query.claims.values()), query


def test_synonyms_are_common(queries: list[Query]) -> None:
    others = {word for values in SYNONYMS.values() for words in values.values() for word in words}
    share = np.mean([any(word in query.text.lower() for word in others) for query in queries])
    assert share > 0.7


def test_an_identity_keeps_its_queries_whoever_else_is_there(queries: list[Query]) -> None:
    alone = write_queries({5: TRUTHS[5]}, seed=7, per_identity=8)
    assert alone == [query for query in queries if query.identity == 5]
    assert len({query.text for query in alone}) == 8


def test_what_no_camera_saw_is_not_known() -> None:
    back = {**dict.fromkeys(ATTRIBUTES, "cannot tell"), "hair_length": "long", "logo": "cannot tell"}
    front = {**dict.fromkeys(ATTRIBUTES), "logo": "no"}
    known = seen_by_cameras([back, front])
    assert {name: value for name, value in known.items() if value} == {"hair_length": "long", "logo": "no"}


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no such kind of query: 'novel'"):
        write_query(0, TRUTHS[0], np.random.default_rng(0), "novel")
