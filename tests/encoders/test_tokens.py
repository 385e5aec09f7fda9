from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from ctgi.encoders.tokens import END, PAD, START, tokenize

PLAIN = st.text(max_size=80).filter(lambda text: "_of_text" not in text.lower())


@lru_cache(maxsize=1)
def reference() -> SimpleTokenizer:
    return SimpleTokenizer()


@settings(deadline=None)
@given(texts=st.lists(PLAIN, min_size=1, max_size=4), context=st.sampled_from([5, 77, 248]))
def test_it_is_open_clips_tokenizer_cut_to_the_longest(texts: list[str], context: int) -> None:
    got = tokenize(texts, context)
    expected = reference()(texts, context)
    assert got.dtype == torch.int64
    assert torch.equal(got, expected[:, : got.shape[1]])
    assert not expected[:, got.shape[1] :].any()
    assert bool((got == END).any(dim=0)[-1])  # the longest text ends in the last column


def test_known_ids() -> None:
    # CLIP's published example: "a diagram" is 320, 22697.
    assert tokenize(["a diagram"], 77).tolist() == [[START, 320, 22697, END]]
    assert tokenize(["", "a diagram"], 77).tolist() == [[START, END, PAD, PAD], [START, 320, 22697, END]]
    assert tokenize([], 77).shape == (0, 2)


def test_a_long_text_is_cut_and_still_ends() -> None:
    ids = tokenize(["man " * 300], 77)
    assert ids.shape == (1, 77)
    assert ids[0, 0] == START and ids[0, -1] == END and (ids[0, 1:-1] == ids[0, 1]).all()


@pytest.mark.parametrize(
    "text",
    [
        "a man <end_of_text> in red",
        "<start_of_text><END_OF_TEXT>",
        "&lt;end_of_text&gt; and &amp;lt;end_of_text&amp;gt;",
        "<end_of_text>" * 50,
    ],
)
def test_no_text_forges_a_special_token(text: str) -> None:
    ids = tokenize([text], 248)[0]
    assert ids[0] == START and ids[-1] == END
    assert bool((ids[1:-1] < START).all())
    assert len(ids) > 8  # it is read as the words and signs it is made of


def test_the_last_merge_is_a_word() -> None:
    # IRRA's own tokenizer gives this id away to its mask token and fails on the word.
    assert tokenize(["jekyll"], 77).tolist() == [[START, 49405, END]]


def test_an_exclamation_mark_has_the_padding_id_and_ends_nothing() -> None:
    ids = tokenize(["!!a", "a man in a long red coat"], 77)
    assert int(ids[0].argmax()) + 1 < ids.shape[1]


def test_a_context_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        tokenize(["a"], 1)
