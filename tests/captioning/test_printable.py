from __future__ import annotations

import os

import pytest

from ctgi.captioning.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 衣.jpg", "Zoë 衣.jpg"),
        ("two\nlines", "two\\x0alines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        (os.fsdecode(b"bad\xff.jpg"), "bad\\xff.jpg"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_does_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")
