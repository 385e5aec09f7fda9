"""Answers held to a form: one of several choices, or JSON of a schema.

Choices become a tree of tokens that is scored in one forward pass. A schema becomes a regular expression, and
a token is allowed when the text with it can still grow into a full match.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex

from demo.models.server.errors import ApiError

_CHARACTER = r'(?:[^"\\\x00-\x1f\x7f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})'
_INTEGER = r"-?(?:0|[1-9][0-9]{0,15})"
_ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "strict",
    "deprecated",
}
_MEANT = {
    "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "enum",
    "const", "anyOf", "oneOf", "minLength", "maxLength", "$ref", "$defs", "definitions",
}  # fmt: skip
_DEEPEST = 16
_LONGEST = 20_000


class JsonForm:
    """A JSON schema (of the kind response formats use) as a regular expression over its compact text.

    Raises ApiError, naming the keyword, for what it cannot hold an answer to: rather refused than silently
    ignored.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        pattern = _Schema(schema).pattern(schema, 0)
        if len(pattern) > _LONGEST:
            raise ApiError("the JSON schema is too large", param="response_format")
        self._regex = regex.compile(pattern)

    def can_grow(self, text: str) -> bool:
        return self._regex.fullmatch(text, partial=True, timeout=0.5) is not None

    def is_whole(self, text: str) -> bool:
        return self._regex.fullmatch(text, timeout=0.5) is not None


class _Schema:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def pattern(self, schema: Any, depth: int) -> str:
        if not isinstance(schema, Mapping):
            raise ApiError("a JSON schema must be an object", param="response_format")
        if depth > _DEEPEST:
            raise ApiError(
                "the JSON schema is nested too deeply or refers to itself", param="response_format"
            )
        unknown = set(schema) - _MEANT - _ANNOTATIONS
        if unknown:
            raise ApiError(
                f"the JSON schema keyword {sorted(unknown)[0]!r} is not supported here",
                param="response_format",
            )
        if "$ref" in schema:
            return self.pattern(self._target(schema["$ref"]), depth + 1)
        if "const" in schema:
            return regex.escape(json.dumps(schema["const"], ensure_ascii=False))
        if "enum" in schema:
            return _either(
                regex.escape(json.dumps(value, ensure_ascii=False)) for value in _list(schema, "enum")
            )
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return _either(self.pattern(option, depth + 1) for option in _list(schema, union))
        kind = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kind, list):
            return _either(self.pattern({**schema, "type": one}, depth + 1) for one in kind)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            item = self.pattern(schema.get("items", {"type": "string"}), depth + 1)
            least, most = _bounds(schema, "minItems", "maxItems")
            if most == 0:
                return r"\[\]"
            more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
            filled = f"{item}(?:, ?{item}){more}"
            return rf"\[{filled}\]" if least else rf"\[(?:{filled})?\]"
        if kind == "string":
            least, most = _bounds(schema, "minLength", "maxLength")
            return f'"{_CHARACTER}{{{least},{"" if most is None else most}}}"'
        simple = {
            "integer": _INTEGER,
            "number": _INTEGER + r"(?:\.[0-9]{1,8})?",
            "boolean": "(?:true|false)",
            "null": "null",
        }
        if kind not in simple:
            raise ApiError(f"the JSON schema type {kind!r} is not supported here", param="response_format")
        return simple[kind]

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        """Every property in its order, the optional ones too: always valid, and the model need not choose."""
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping):
            raise ApiError("`properties` of a JSON schema must be an object", param="response_format")
        members = [
            regex.escape(json.dumps(name, ensure_ascii=False)) + ": ?" + self.pattern(value, depth + 1)
            for name, value in properties.items()
        ]
        return r"\{" + ", ?".join(members) + r"\}"

    def _target(self, reference: Any) -> Any:
        target: Any = self.root
        for step in str(reference).removeprefix("#/").split("/"):
            if not str(reference).startswith("#/") or not isinstance(target, Mapping) or step not in target:
                raise ApiError(
                    f"the JSON schema reference {reference!r} leads nowhere", param="response_format"
                )
            target = target[step]
        return target


def _either(options: Any) -> str:
    return "(?:" + "|".join(options) + ")"


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema[name]
    if not isinstance(value, list) or not value:
        raise ApiError(f"`{name}` of a JSON schema must be a non-empty list", param="response_format")
    return value


def _bounds(schema: Mapping[str, Any], low: str, high: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    whole = isinstance(least, int) and (most is None or isinstance(most, int))
    if not whole or not 0 <= least <= (least if most is None else most) <= 4096:
        raise ApiError(f"`{low}` and `{high}` must be whole numbers from 0 to 4096", param="response_format")
    return least, most


@dataclass
class ChoiceTree:
    """Choices as a tree of tokens. Nodes that have children are fed to the model, parents before children.

    parent[i], token[i]: node i's parent (-1: the prompt) and its token. A choice's path ends with the end
    token.
    """

    parent: list[int] = field(default_factory=list)
    token: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    children: dict[int, dict[int, int | str]] = field(default_factory=lambda: {-1: {}})

    @classmethod
    def of(cls, choices: Sequence[tuple[str, tuple[int, ...]]], end: int) -> ChoiceTree:
        """`choices`: text and its tokens. A leaf is the choice's text, under the end token."""
        tree = cls()
        for text, tokens in choices:
            node = -1
            for token in tokens:
                known = tree.children[node].get(token)
                if known is None:
                    known = len(tree.parent)
                    tree.parent.append(node)
                    tree.token.append(token)
                    tree.depth.append(tree.depth[node] + 1 if node >= 0 else 0)
                    tree.children[node][token] = known
                    tree.children[known] = {}
                assert isinstance(known, int)
                node = known
            tree.children[node][end] = text
        return tree

    def ancestors(self, node: int) -> list[int]:
        """The node and everything above it."""
        path = []
        while node >= 0:
            path.append(node)
            node = self.parent[node]
        return path
