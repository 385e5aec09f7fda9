"""open_clip's byte-pair tokenizer as a Hugging Face `tokenizers` file, id for id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ctgi.storage.atomic import write_text

_CONTRACTIONS = ("[sſ]", "t", "re", "ve", "m", "ll", "d")  # ſ folds to s: open_clip's pattern ignores case


def tokenizer_json() -> str:
    """The content of `tokenizer.json`: pre-tokeniser, byte-pair merges and the `[SOT] … [EOT]` template.

    Texts go through `ctgi.export.tokenizer.clean_text` first. The two marks are in the vocabulary but are
    not added tokens, so that they are put by the template and never read out of a text.
    """
    from open_clip.tokenizer import SimpleTokenizer
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    source: Any = SimpleTokenizer()
    start, end = source.sot_token_id, source.eot_token_id
    start_mark, end_mark = source.decoder[start], source.decoder[end]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=source.encoder, merges=list(source.bpe_ranks), end_of_word_suffix="</w>", fuse_unk=False
        )
    )
    split: Any = pre_tokenizers.Split(Regex(_pattern()), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start_mark} $A {end_mark}", special_tokens=[(start_mark, start), (end_mark, end)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # Reading it back once makes a version of the library that cannot speak up here rather than at search
    # time.
    text: str = tokenizer.to_str()
    Tokenizer.from_str(text)
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def write_tokenizer(path: Path | str) -> None:
    """Write `tokenizer.json` at `path`, atomically."""
    write_text(path, tokenizer_json())


def _pattern() -> str:
    r"""CLIP's word pattern with its three character classes spelt out as ranges.

    `\p{L}` means another edition of Unicode in every regular-expression engine: the one inside
    `tokenizers` knows 17,000 letters fewer than the `regex` module that open_clip uses. Ranges mean the
    same everywhere. They are taken with the same flag as open_clip's, under which U+0345 is in none of the
    classes.
    """
    words = "|".join(f"'{ending}" for ending in _CONTRACTIONS)
    letters, digits, others = (_ranges(group) for group in (r"[\p{L}]", r"[\p{N}]", r"[^\s\p{L}\p{N}]"))
    return f"{words}|[{letters}]+|[{digits}]|[{others}]+"


def _ranges(group: str) -> str:
    import regex  # type: ignore[import-untyped, unused-ignore]

    matches = regex.compile(group, regex.IGNORECASE).match
    ranges: list[list[int]] = []
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000 or not matches(chr(point)):  # surrogates cannot be in a text
            continue
        if ranges and point == ranges[-1][1] + 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges)
