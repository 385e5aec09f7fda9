"""Protocol buffers in their text form, as far as Triton's `config.pbtxt` needs them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


class Word(str):
    """The name of an enumeration's value: written without quotes."""


def pbtxt(message: Mapping[str, Any], indent: str = "") -> str:
    """The message as text: mappings are messages, sequences are repeated fields, strings are quoted.

    A field of a map type is given as a sequence of {"key": …, "value": …}.
    """
    lines = []
    for name, value in message.items():
        repeated = isinstance(value, Sequence) and not isinstance(value, str)
        for one in value if repeated else [value]:
            if isinstance(one, Mapping):
                body = pbtxt(one, indent + "  ")
                lines.append(f"{indent}{name} {{\n{body}{indent}}}\n" if body else f"{indent}{name} {{}}\n")
            else:
                lines.append(f"{indent}{name}: {_scalar(one)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are a subset of the text format's; everything else is kept to ASCII, for \u is not.
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{value!r}: only printable ASCII is written to a configuration")
        return json.dumps(value)
    return repr(value)
