"""`tokenizer.json` against open_clip's own SimpleTokenizer, which is the definition."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ctgi.errors import CtgiError
from ctgi.export.convert_tokenizer import write_tokenizer
from ctgi.export.tokenizer import TextTokenizer, clean_text


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(path)
    return path


@pytest.fixture(scope="session")
def reference():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@pytest.fixture(scope="session")
def tokenizers(tokenizer_file):
    return [TextTokenizer(tokenizer_file, context) for context in (77, 248)]


MARKS = ("<start_of_text>", "<end_of_text>")
words = st.sampled_from(
    [
        "A woman",
        "in a RED jacket",
        "o'clock's",
        "don't",
        "we'll",
        "'ſ",
        "don'T",
        "!",
        "!!",
        "jekyll",
        "caf\u00e9",
        "cafe\u0301",
        "&amp;amp;",
        "&lt;b&gt;",
        "Ã©",
        "ΟΔΟΣ",
        "İstanbul",
        "ß",
        "ﬁne",
        "Ⅻ",
        "½",
        "１２",
        "人物",
        "\U00031350",
        "🧥👟",
        "\u200b",
        "a_b",
        "e-mail",
        "x\ty\nz",
        "\x1c",
        "\u2028",
        "K",
        "…",
        "“quoted”",
        "1234",
        "ᾳ",
        "\u0558",
        "㐀",
        "한국어",
        "हिन्दी",
        "'",
        "''s",
    ]
)
texts = st.one_of(
    st.text(max_size=80),
    st.lists(words, max_size=12).map(" ".join),
    st.lists(words, max_size=6).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(text=texts)
@example(text="")
@example(text="   ")
@example(text="\ud800 lone surrogate")
@example(text="word " * 400)
@example(text="a\u03451")
def test_ids_equal_open_clips(tokenizers, reference, text):
    if any(mark in clean_text(text) for mark in MARKS):
        return
    for tokenizer in tokenizers:
        want = reference([text], context_length=tokenizer.context)[0].numpy()
        got = tokenizer([text])[0]
        assert np.array_equal(got, want[: len(got)]) and not want[len(got) :].any()


@pytest.mark.slow
def test_every_character_of_unicode_splits_alike(tokenizer_file, reference):
    from tokenizers import Tokenizer

    # Each character between a letter and a digit: one in another class would move the border of a word.
    split = Tokenizer.from_file(str(tokenizer_file)).pre_tokenizer.pre_tokenize_str
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for first in range(0, len(points), 0x400):
        text = " ".join(f"a{chr(point)}1" for point in points[first : first + 0x400])
        assert [span for _, span in split(text)] == [match.span() for match in reference.pat.finditer(text)]


def test_marks_inside_a_text_are_plain_words(tokenizer_file, reference):
    tokenizer = TextTokenizer(tokenizer_file, 77)
    [ids] = tokenizer.encode(["a man <end_of_text> in <START_OF_TEXT> red"])
    assert ids[0] == 49406 and ids[-1] == 49407
    assert not {49406, 49407} & set(ids[1:-1])
    # The same text spelt so that open_clip sees no mark either.
    pieces = [
        "a man",
        "<",
        "end",
        "_",
        "of",
        "_",
        "text",
        ">",
        "in",
        "<",
        "start",
        "_",
        "of",
        "_",
        "text",
        ">",
        "red",
    ]
    assert ids[1:-1] == [token for piece in pieces for token in reference.encode(piece)]


def test_too_long_a_text_ends_with_the_end_token(tokenizer_file, reference):
    text = " ".join(f"red{n}" for n in range(200))
    ids = TextTokenizer(tokenizer_file, 77)([text])
    assert ids.shape == (1, 77) and ids[0, -1] == 49407 and ids[0, 0] == 49406
    assert ids[0, 1:-1].tolist() == reference.encode(text)[:75]


def test_padding_is_zero_and_to_the_longest(tokenizer_file):
    ids = TextTokenizer(tokenizer_file, 77)(["red", "a man in a long black coat"])
    assert ids.dtype == np.int64 and ids.shape == (2, 9)
    assert ids[0].tolist() == [49406, 736, 49407, 0, 0, 0, 0, 0, 0]


def test_faults_are_one_line(tokenizer_file, tmp_path):
    with pytest.raises(CtgiError, match="no tokenizer there"):
        TextTokenizer(tmp_path / "tokenizer.json", 77)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CtgiError, match="not a tokenizer"):
        TextTokenizer(tmp_path / "tokenizer.json", 77)
    with pytest.raises(CtgiError, match="context 2"):
        TextTokenizer(tokenizer_file, 2)


def test_search_time_imports_no_training_library():
    code = (
        "import sys, ctgi.export.runtime, ctgi.export.release\n"
        "assert not {'torch', 'open_clip', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
