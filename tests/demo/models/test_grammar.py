from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.models.server.errors import ApiError
from demo.models.server.grammar import ChoiceTree, JsonForm

SCHEMA = {
    "type": "object",
    "title": "Seen",
    "properties": {
        "answer": {"type": "string", "maxLength": 40},
        "sure": {"type": "boolean"},
        "colours": {"type": "array", "items": {"enum": ["red", "dark blue"]}, "minItems": 1, "maxItems": 3},
        "count": {"$ref": "#/$defs/count"},
        "size": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["answer"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer"}},
}
FORM = JsonForm(SCHEMA)
values = st.fixed_dictionaries(
    {
        "answer": st.text(
            st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\x7f"),
            max_size=40,
        ),
        "sure": st.booleans(),
        "colours": st.lists(st.sampled_from(["red", "dark blue"]), min_size=1, max_size=3),
        "count": st.integers(-(10**9), 10**9),
        "size": st.none() | st.decimals(-1000, 1000, places=3).map(float),
    }
)


@given(values, st.booleans())
def test_every_value_of_the_schema_can_be_written_letter_by_letter(value, ascii_only):
    ordered = {name: value[name] for name in SCHEMA["properties"]}
    text = json.dumps(ordered, ensure_ascii=ascii_only)
    assert FORM.is_whole(text)
    assert all(FORM.can_grow(text[:end]) for end in range(len(text) + 1))


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "x", "sure": maybe',
        '{"sure": true',
        '["',
        '{"answer": "x"}',
        '{"answer": "x", "sure": true, "colours": []',
        '{"answer": "x", "sure": true, "colours": ["green',
        '{"answer": "line\nbreak',
        '{"answer": "x", "sure": true, "colours": ["red"], "count": 01',
    ],
)
def test_what_the_schema_does_not_allow_is_stopped(text):
    assert not FORM.can_grow(text)


def test_a_beginning_is_not_a_whole():
    text = '{"answer": "a", "sure": true, "colours": ["red"], "count": 3, "size": null}'
    assert FORM.is_whole(text) and not FORM.is_whole(text[:-1]) and not FORM.can_grow(text + "}")


@pytest.mark.parametrize(
    "schema, named",
    [
        ({"type": "string", "pattern": "a+"}, "pattern"),
        ({"type": "integer", "minimum": 3}, "minimum"),
        ({"type": "colour"}, "colour"),
        ({"$ref": "#/$defs/none"}, "#/$defs/none"),
        ({"$ref": "#"}, "#"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems"),
        ({"enum": []}, "enum"),
        ([], "object"),
        ({"type": "object", "properties": {"again": {"$ref": "#/properties/again"}}}, "refers to itself"),
    ],
)
def test_what_cannot_be_promised_is_refused_by_name(schema, named):
    with pytest.raises(ApiError, match=named.replace("$", r"\$")):
        JsonForm(schema)


def test_choices_share_their_beginnings():
    tree = ChoiceTree.of([("ab", (1, 2)), ("ac", (1, 3)), ("a", (1,)), ("d", (4,))], end=0)
    assert list(zip(tree.parent, tree.token, tree.depth, strict=True)) == [
        (-1, 1, 0),
        (0, 2, 1),
        (0, 3, 1),
        (-1, 4, 0),
    ]
    assert tree.children[0] == {2: 1, 3: 2, 0: "a"}
    assert tree.ancestors(2) == [2, 0]
