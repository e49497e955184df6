"""Which schemas are taken, and what is said of the others. No torch, no grammar library."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from onebox.core.errors import InvalidInput
from onebox.language.grammars.json_schema import check_schema
from onebox.language.grammars.schema_finite import Finite
from tests.support.random_schemas import RandomSchemas

STRING = {"type": "string"}


def refused(schema: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_schema(schema, "response_format")
    assert caught.value.param == "response_format"
    return caught.value


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("not", STRING),
        ("if", STRING),
        ("patternProperties", {"^a": STRING}),
        ("propertyNames", STRING),
        ("dependentRequired", {"a": ["b"]}),
        ("unevaluatedProperties", False),
        ("contains", STRING),
        ("uniqueItems", True),
        ("$dynamicRef", "#a"),
        ("nullable", True),
    ],
)
def test_an_unsupported_keyword_is_named_with_its_place(keyword: str, value: Any) -> None:
    error = refused(an_object(a={"type": "array", "items": {keyword: value}}))
    assert error.details == {"keyword": keyword, "pointer": "/properties/a/items"}
    assert f"'{keyword}'" in error.message


def test_a_place_is_a_json_pointer() -> None:
    error = refused(an_object(**{"a/b~c": {"not": {}}}))
    assert error.details["pointer"] == "/properties/a~1b~0c"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object"},
        {"type": ["string", "null"], "title": "T", "default": None, "x-order": 1},
        {"enum": [1, "a", None, {"b": []}]},
        {"oneOf": [STRING, {"type": "integer"}]},
        {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": STRING}},
        {"$ref": "#/definitions/a~1b", "definitions": {"a/b": STRING}},
        {"type": "integer", "format": "int32", "maximum": 2**63 - 1},
        {"properties": {"a": {}}},
        {"type": "array", "maxItems": 10**9, "uniqueItems": False},
        {"$id": "https://example.org/a", "$schema": "x", "type": "number"},
    ],
)
def test_the_documented_keywords_are_taken(schema: Any) -> None:
    check_schema(schema, "response_format")


def test_two_hundred_random_schemas_are_taken() -> None:
    schemas = RandomSchemas(5)
    for _ in range(200):
        check_schema(schemas.next(), "response_format")


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "strng"}, "type"),
        ({"type": "string", "format": "regex"}, "format"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern"),
        ({"type": "string", "pattern": "a" * 513}, "pattern"),
        ({"type": "string", "pattern": "a{1,999}"}, "pattern"),
        ({"type": "string", "pattern": "(a{1,20}b){1,20}"}, "pattern"),
        ({"type": "string", "format": "date", "maxLength": 3}, "maxLength"),
        ({"type": "string", "minLength": -1}, "minLength"),
        ({"type": "string", "minLength": 10**9}, "minLength"),
        ({"type": "string", "maxLength": "3"}, "maxLength"),
        ({"type": "array", "minItems": 10**6}, "minItems"),
        ({"type": "array", "items": [STRING]}, ""),
        ({"type": "integer", "multipleOf": 0}, "multipleOf"),
        ({"type": "integer", "multipleOf": 0.5}, "multipleOf"),
        ({"type": "integer", "multipleOf": 65537}, "multipleOf"),
        ({"type": "integer", "exclusiveMinimum": True}, "exclusiveMinimum"),
        ({"enum": []}, "enum"),
        ({"enum": list(range(1001))}, "enum"),
        ({"const": "x" * 2000}, "const"),
        ({"enum": ["a"], "maxLength": 3}, "maxLength"),
        ({"anyOf": [STRING], "type": "string"}, "type"),
        ({"anyOf": []}, "anyOf"),
        ({"allOf": [STRING, STRING]}, "allOf"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"properties": [], "type": "object"}, "properties"),
        ({"required": "a", "type": "object"}, "required"),
        ({"type": "object", "properties": {"a": {}}, "maxProperties": 3}, "maxProperties"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"$ref": "https://example.org/a.json"}, "$ref"),
        ({"$ref": "#/properties/a"}, "$ref"),
        ({"$ref": "#/$defs/missing", "$defs": {}}, "$ref"),
    ],
)
def test_a_wrong_value_is_refused_by_its_keyword(schema: Any, keyword: str) -> None:
    assert refused(schema).details["keyword"] == keyword


@pytest.mark.parametrize(
    "schema",
    [
        nested(100_000),
        {"enum": [[[[] for _ in range(10)]] * 10] * 1001},
        an_object(**{f"p{index}": STRING for index in range(501)}),
        {"type": "object", "properties": {f"p{index}": STRING for index in range(101)}},
        {"anyOf": [{"const": index} for index in range(201)]},
        {"description": "x" * 300_000},
        {"description": "\ud800"},
        {"minimum": float("nan"), "type": "number"},
        {"minimum": float("inf"), "type": "number"},
        {"minimum": 10**5000, "type": "number"},
        {"default": object()},
        [],
        None,
    ],
)
def test_a_bomb_is_refused(schema: Any) -> None:
    refused(schema)


def test_many_references_to_many_references_are_refused_in_time() -> None:
    names = [f"n{index}" for index in range(65)]
    inside = an_object(**{name: {"$ref": f"#/$defs/{name}"} for name in names})
    defs = {name: {"anyOf": [STRING, inside]} for name in names}
    error = refused({"$ref": "#/$defs/n0", "$defs": defs})
    assert "too large" in error.message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        an_object(next={"$ref": "#"}),
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "minimum": 1, "maximum": 6, "multipleOf": 7},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "array", "prefixItems": [STRING], "items": False, "minItems": 2},
        {"type": "string", "enum": [1, 2]},
        an_object(a=False),
        {"type": "object", "required": ["a"], "additionalProperties": False},
        False,
    ],
)
def test_what_no_finite_value_satisfies_is_refused(schema: Any) -> None:
    assert "can satisfy it" in refused(schema).message


def test_recursion_that_can_end_is_taken() -> None:
    tree = an_object(value=STRING)
    tree["properties"]["children"] = {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
    check_schema({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}, "response_format")


def test_a_oneof_told_apart_by_a_constant_is_taken() -> None:
    cat, dog = (an_object(kind={"const": kind}, name=STRING) for kind in ("cat", "dog"))
    check_schema({"oneOf": [cat, dog, {"type": "null"}]}, "response_format")
    same = an_object(kind={"enum": ["dog", "cow"]})
    assert refused({"oneOf": [dog, same]}).details["keyword"] == "oneOf"


@pytest.mark.parametrize(
    ("schema", "least", "most"),
    [
        ({"type": "integer"}, -(2**53 - 1), 2**53 - 1),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9.5}, 1, 9),
        ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 20}, 7, 14),
        ({"type": "integer", "maximum": 2**63}, -(2**53 - 1), 2**53 - 1),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 1e-10, 1),
        ({"type": "number", "minimum": 5e-324, "maximum": 1}, 1e-10, 1),
    ],
)
def test_numbers_have_bounds_that_few_digits_reach(schema: Any, least: float, most: float) -> None:
    narrowed = Finite().narrow(schema)
    assert (narrowed["minimum"], narrowed["maximum"]) == (least, most)


def test_no_step_beside_an_open_bound_rounds_to_it() -> None:
    for bound in (7, 999_999_999, 12_345_678_901_234):
        narrowed = Finite().narrow({"type": "number", "exclusiveMaximum": bound})
        assert bound - 1 <= narrowed["maximum"] < bound
        assert narrowed["maximum"] + narrowed["multipleOf"] / 4 < bound


def test_what_is_left_open_gets_a_bound() -> None:
    narrowed = Finite().narrow(an_object(text=STRING, many={"type": "array", "items": STRING}))
    assert narrowed["additionalProperties"] is False
    assert narrowed["properties"]["text"]["maxLength"] == 4096
    assert narrowed["properties"]["many"]["maxItems"] == 64


def test_a_narrowed_schema_allows_nothing_that_the_asked_one_does_not() -> None:
    asked = {"type": ["integer", "string"], "minimum": 3, "maxLength": 2}
    maker = Finite()
    narrowed = {**maker.narrow(asked), "$defs": maker.definitions}
    for value in (2, 3, 2**60, "ab", "abc", None, 3.5):
        if jsonschema.Draft202012Validator(narrowed).is_valid(value):
            jsonschema.validate(value, asked)
