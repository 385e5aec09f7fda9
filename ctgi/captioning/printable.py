"""Names and texts from elsewhere on one line of a terminal, whatever they hold."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with everything escaped that does not show: line breaks, a terminal's escape codes, marks
    that turn the direction of writing, and the bytes of a file name that is not UTF-8 (as ``\xff``)."""
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is no text
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
