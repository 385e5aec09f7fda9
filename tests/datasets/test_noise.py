from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.datasets.noise import Written, find_noise, kinds_of, summary


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("A man in a red T-shirt (short sleeves), carrying a café's bag & a No. 5 cap.", ()),
        ("The woman's hair is shoulder-length; she's walking “slowly” – to the left", ()),
        ("", ("empty",)),
        (" ?! \n\t", ("empty",)),
        ("a man in black trousers，white shoes", ("script",)),  # a full-width comma
        ("the man 穿着 a jacket", ("script",)),
        ("a woman\u3000in white", ("script",)),  # an ideographic space
        ("мужчина", ("script",)),
        ("for i in range(len(x)): print(i)", ("code",)),
        ("captions[0] = None", ("code",)),
        ("a man <br> in black", ("code",)),
        ("a red jacket &amp; a bag", ("code",)),
        ("a broken \ufffd mark", ("code",)),
        ("a bell \x07 in the text", ("code",)),
        ("self.img 衣服 {}", ("script", "code")),
    ],
)
def test_what_is_odd_about_one_caption(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of(text) == kinds


def test_the_same_long_sentence_about_two_people_is_told() -> None:
    long = "a man in a black jacket with grey trousers and white shoes"
    texts = [(f"{long}.", 1), (long.capitalize().replace(" in ", "  in "), 2), ("a man", 3), ("a man", 4)]
    texts += [(f"{long} and a bag", 5), (f"{long} and a bag", 5), ("", 1), ("", 2)]
    noise = find_noise([Written(f"entry {n}", who, text, f"{n}.jpg") for n, (text, who) in enumerate(texts)])
    assert [(item.where, item.kinds) for item in noise] == [
        ("entry 0", ("shared",)),
        ("entry 1", ("shared",)),
        ("entry 6", ("empty",)),
        ("entry 7", ("empty",)),
    ]
    line = summary(noise)
    assert "2 without words (left out)" in line and "2 that describe several people" in line
    assert "entry 6: ''" in line and "\n" not in line and summary(()) == ""


def test_the_same_words_for_the_same_picture_are_told() -> None:
    texts = [("a man", "1.jpg"), ("a man", "2.jpg"), (" a man\n", "1.jpg"), ("A man", "1.jpg"), ("", "1.jpg")]
    texts += [("", "1.jpg"), ("人", "1.jpg"), ("人", "1.jpg")]
    noise = find_noise([Written(f"entry {n}", 0, text, picture) for n, (text, picture) in enumerate(texts)])
    assert [(item.where, item.kinds) for item in noise] == [
        ("entry 2", ("repeated",)),
        ("entry 4", ("empty",)),
        ("entry 5", ("empty",)),
        ("entry 6", ("script",)),
        ("entry 7", ("script", "repeated")),
    ]
    assert "2 that repeat a caption of their picture word for word" in summary(noise)


@given(st.text(max_size=40))
def test_any_text_has_an_answer_and_words_are_never_called_empty(text: str) -> None:
    kinds = kinds_of(text)
    assert (kinds == ("empty",)) == (not any(c.isalnum() for c in text))
    assert summary(find_noise([Written("entry 1", 0, text, "1.jpg")])).count("\n") == 0
