"""A conversation about twelve people: what is asked, what answers do, what can be taken back."""

from __future__ import annotations

import numpy as np
import pytest

from ctgi.errors import CtgiError
from ctgi.interaction.config import MTIConfig
from ctgi.interaction.converse import Conversation, heard
from ctgi.interaction.dossier import Dossiers
from ctgi.interaction.reading import Reading, read_query
from ctgi.interaction.rehearsal import at_random, by_gain, in_fixed_order, rehearse
from ctgi.interaction.vocabulary import default_facets

FACETS = default_facets()
PLACE = {facet.key: number for number, facet in enumerate(FACETS)}
LOOKS = [
    {"gender/kind": gender, "lower/colour": colour, "hat/kind": hat}
    for gender in ("man", "woman")
    for colour in ("blue", "black", "red")
    for hat in ("cap", "none")
]


def dossiers(looks: list[dict[str, str]], sure: float = 0.94) -> Dossiers:
    tables = []
    for facet in FACETS:
        table = np.zeros((len(looks), len(facet.values)), np.float32)
        for row, look in enumerate(looks):
            if facet.key in look:
                table[row] = (1 - sure) / (len(facet.values) - 1)
                table[row, facet.values.index(look[facet.key])] = sure
            else:
                table[row, -1] = 1.0
        tables.append(table)
    return Dossiers(FACETS, tuple(f"p{n}" for n in range(len(looks))), tuple(tables))


def talk(query: str = "somebody", similarity: np.ndarray | None = None, **config: float) -> Conversation:
    known = np.zeros(len(LOOKS), np.float32) if similarity is None else similarity
    return Conversation(dossiers(LOOKS), known, query, read_query(query, FACETS), MTIConfig(**config))


def value(key: str, text: str) -> int:
    return FACETS[PLACE[key]].values.index(text)


def test_the_colour_that_parts_three_ways_is_asked_first() -> None:
    question = talk().question
    assert question is not None and FACETS[question.facet].key == "lower/colour"
    assert question.text == "What colour is the lower garment?"
    assert {choice.text for choice in question.choices[:3]} == {"blue", "black", "red"}
    assert (
        sum(choice.share for choice in question.choices) <= 1 + 1e-9 and 0 < question.gain < talk().open_nats
    )


def test_what_the_query_says_is_not_asked_again_and_orders_the_candidates() -> None:
    said = talk("a woman in red trousers")
    assert {PLACE["gender/kind"], PLACE["lower/colour"]} <= said.settled
    assert {LOOKS[row]["gender/kind"] + LOOKS[row]["lower/colour"] for row in said.order[:2]} == {"womanred"}
    question = said.question
    assert question is not None and FACETS[question.facet].key == "hat/kind"


def test_what_is_denied_outright_is_settled_and_what_is_left_open_is_not() -> None:
    assert PLACE["hat/kind"] in talk("a woman without a hat").settled
    assert PLACE["lower/colour"] not in talk("not in red trousers").settled
    assert PLACE["gender/kind"] in talk("a woman").settled


def test_answers_lead_to_the_person_and_each_is_asked_once() -> None:
    wanted = {"gender/kind": "woman", "lower/colour": "black", "hat/kind": "cap"}
    said = talk()
    asked = []
    while (question := said.question) is not None:
        key = FACETS[question.facet].key
        asked.append(key)
        said = said.chose(question.facet, value(key, wanted[key]))
    assert sorted(asked) == sorted(wanted) and LOOKS[int(said.order[0])] == wanted
    assert said.weights[said.order[0]] > 0.8 and said.weights.sum() == pytest.approx(1)


def test_a_colour_says_that_the_thing_is_there() -> None:
    said = talk().chose(PLACE["hat/colour"], value("hat/colour", "red"))
    hat = said.known.about(PLACE["hat/kind"])
    assert hat is not None and hat.weights[value("hat/kind", "none")] == 0 and hat.weights.sum() > 1
    assert all(LOOKS[int(row)]["hat/kind"] == "cap" for row in said.order[:6])
    denied = talk("a man without a hat").chose(PLACE["hat/colour"], value("hat/colour", "red"))
    kept = denied.known.about(PLACE["hat/kind"])
    assert kept is not None and kept.negated  # what was said outright stays


def test_cannot_tell_changes_no_order_and_is_not_asked_again() -> None:
    said = talk(similarity=np.linspace(0.2, 0.3, len(LOOKS)).astype(np.float32))
    question = said.question
    assert question is not None
    after = said.could_not_tell(question.facet)
    np.testing.assert_array_equal(after.weights, said.weights)
    assert after.question is not None and after.question.facet != question.facet


def test_undo_gives_back_what_was_and_undoing_nothing_is_nothing() -> None:
    start = talk("a man")
    later = start.chose(PLACE["hat/kind"], value("hat/kind", "cap")).told("with red shorts", ())
    assert later.description == "a man. with red shorts"
    again = later.undone().undone()
    np.testing.assert_array_equal(again.weights, start.weights)
    assert again.turns == () == again.undone().turns and later.turns  # a conversation is a value


def test_the_newest_word_about_a_facet_counts() -> None:
    said = talk("a man in blue trousers").chose(PLACE["lower/colour"], value("lower/colour", "red"))
    top = [LOOKS[int(row)] for row in said.order[:2]]
    assert all(look["lower/colour"] == "red" and look["gender/kind"] == "man" for look in top)


@pytest.mark.parametrize(
    ("words", "key", "fits"),
    [
        ("dark blue", "lower/colour", ["blue"]),
        ("no", "hat/kind", ["none"]),
        ("a cap", "hat/kind", ["cap"]),
        ("a woman", "gender/kind", ["woman"]),
        ("wearing no hat at all", "hat/kind", ["none"]),
    ],
)
def test_bare_words_are_read_as_the_answer_to_the_question(words: str, key: str, fits: list[str]) -> None:
    said = {s.facet: s for s in heard(words, talk().dossiers, PLACE[key])}[PLACE[key]]
    assert [v for v, w in zip(FACETS[PLACE[key]].values, said.weights, strict=True) if w == 1] == fits


def test_words_about_something_else_are_taken_for_that() -> None:
    says = heard("carrying a red backpack", talk().dossiers, PLACE["lower/colour"])
    assert PLACE["bag/kind"] in {said.facet for said in says}
    assert heard("xyzzy", talk().dossiers, PLACE["lower/colour"]) == ()


def test_new_similarities_count_until_they_are_taken_back() -> None:
    start = talk()
    near = np.zeros(len(LOOKS), np.float32)
    near[7] = 0.5
    said = start.told("a tattoo", (), similarity=near).could_not_tell(PLACE["hat/kind"])
    assert said.order[0] == 7 and said.undone().undone().order[0] == 0


def test_no_question_is_worth_asking_about_one_candidate() -> None:
    alone = Conversation(dossiers(LOOKS[:1]), np.zeros(1, np.float32), "x", Reading(), MTIConfig())
    assert alone.question is None and alone.open_nats == pytest.approx(0)
    with pytest.raises(CtgiError, match="at least one candidate"):
        Conversation(dossiers([]), np.zeros(0, np.float32), "x", Reading(), MTIConfig())


def test_asking_by_gain_beats_a_fixed_order_and_chance_where_most_is_hidden() -> None:
    rng = np.random.default_rng(0)
    people = [
        {f.key: str(rng.choice(f.values[:-1])) for f in FACETS if rng.random() < 0.5} for _ in range(60)
    ]
    seen = dossiers(people)

    def place(pick: object, row: int, rounds: int) -> int:
        def answer(facet: int) -> int | None:
            look = people[row].get(FACETS[facet].key)
            return None if look is None else FACETS[facet].values.index(look)

        start = Conversation(seen, np.zeros(60, np.float32), "x", Reading(), MTIConfig())
        stages = rehearse(start, answer, pick, rounds)  # type: ignore[arg-type]
        assert len(stages) == rounds + 1
        return 1 + int(np.flatnonzero(stages[-1].order == row)[0])

    ways = {"gain": [by_gain], "fixed": [in_fixed_order]}
    ways["random"] = [at_random(np.random.default_rng(seed)) for seed in range(4)]
    ranks = {
        name: np.mean([place(pick, row, 3) for pick in picks for row in range(0, 60, 3)])
        for name, picks in ways.items()
    }
    assert ranks["gain"] < ranks["fixed"] and ranks["gain"] < ranks["random"], ranks


def test_a_rehearsal_goes_on_where_nothing_is_left_to_ask() -> None:
    stages = rehearse(talk(), lambda facet: None, in_fixed_order, len(FACETS) + 3)
    assert len(stages) == len(FACETS) + 4 and stages[-1] is stages[-2]
