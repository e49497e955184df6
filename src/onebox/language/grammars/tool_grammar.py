"""The text of a grammar (llguidance's form of Lark) for answers of JSON, and for calls of tools."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from onebox.core.errors import InvalidInput
from onebox.language.grammars.json_schema import narrow
from onebox.language.grammars.schema_finite import Finite
from onebox.language.grammars.schema_keywords import (
    ALONE,
)
from onebox.language.grammars.schema_parts import Schema
from onebox.language.messages import Tool

MAX_CALLS = 16  # in one answer
# JSON as it is written: on one line, at most one space after a comma or colon, and no \u escape:
# characters stand for themselves, and half of a pair cannot be written.
LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "json_allowed_escapes": 'nrbtf\\"',
}
NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
PYTHON_TAG = "<|python_tag|>"
ANY_TEXT = r"TEXT: /(?s:.*)/"


@dataclass(frozen=True, slots=True)
class Markers:
    """The tokenizer's special tokens by their text; `ends` are the ids that end an answer."""

    ids: Mapping[str, int]
    ends: frozenset[int]

    def rule(self, text: str) -> str:
        """How a marker is written: as the token of that text, where there is one."""
        return f"<[{self.ids[text]}]>" if text in self.ids else json.dumps(text)

    def free_text(self, marker: str, first: str = "TEXT") -> str:
        """Rules for `free`: any text, and the special tokens that are neither an end nor a call."""
        others = sorted(set(self.ids.values()) - self.ends - {self.ids.get(marker)})
        if not others:
            return f"free: {first}\n{ANY_TEXT}"
        return f"free: {first} (other TEXT)*\nother: <[{','.join(map(str, others))}]>\n{ANY_TEXT}"


def json_grammar(schema: Schema, maker: Finite) -> str:
    return f"start: {_json(schema, maker)}"


def tool_grammar(
    tools: Sequence[Tool],
    format: str,
    markers: Markers,
    *,
    required: bool,
    parallel: bool,
    loose: Collection[str] = (),
) -> str:
    """
    Args:
        loose: names of tools whose arguments are any JSON object.

    Raises:
        InvalidInput: for the schema of a strict tool outside the documented subset.
    """
    maker = Finite()
    field = "parameters" if format == "llama" else "arguments"
    calls: Schema = {"anyOf": []}
    for index, tool in enumerate(tools):
        arguments = _arguments(tool, f"tools[{index}].parameters", maker, loose)
        calls["anyOf"].append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, field: arguments},
                "required": ["name", field],
                "additionalProperties": False,
            }
        )
    most = MAX_CALLS if parallel else 1
    if format == "hermes":
        return _hermes(_json(calls, maker), markers, required, most)
    if format == "mistral":
        listed = {"type": "array", "items": calls, "minItems": 1, "maxItems": most}
        return _mistral(_json(listed, maker), markers, required)
    return _llama(_json(calls, maker), markers, required, most)


def _json(schema: Schema, maker: Finite) -> str:
    whole = {"x-guidance": LAYOUT, **schema, "$defs": maker.definitions}
    return f"%json {json.dumps(whole)}"


def _further(rule: str, most: int) -> str:
    return f"({rule}){{0,{most - 1}}}" if most > 1 else ""


def _hermes(body: str, markers: Markers, required: bool, most: int) -> str:
    """`<tool_call>`, a line of JSON, `</tool_call>`; further calls on the lines that follow."""
    mark, close = "<tool_call>", markers.rule("</tool_call>")
    call = f'"\\n" body "\\n" {close}'
    further = _further(f'"\\n" {markers.rule(mark)} {call}', most)
    return f"{_begun(mark, markers, required)}\ncalls: {call} {further}\nbody: {body}"


def _mistral(body: str, markers: Markers, required: bool) -> str:
    """`[TOOL_CALLS]` and a list of calls."""
    return f'{_begun("[TOOL_CALLS]", markers, required)}\ncalls: " "? body\nbody: {body}'


def _begun(mark: str, markers: Markers, required: bool) -> str:
    """A call begins with its mark, be it spelled or a token of its own; before it, free text."""
    if required:
        return f"start: {markers.rule(mark)} calls"
    spelled = mark.replace("[", r"\[").replace("]", r"\]")
    ways = [f"free {markers.rule(mark)}"] if mark in markers.ids else []
    before = "(TEXT other)* " if "other:" in markers.free_text(mark) else ""
    return "\n".join(
        [
            "start: free | begun calls",
            f"begun: {' | '.join([*ways, before + 'spelled'])}",
            f"spelled[lazy]: /(?s:.*){spelled}/",
            markers.free_text(mark),
        ]
    )


def _llama(body: str, markers: Markers, required: bool, most: int) -> str:
    """The answer is calls, or it is text; text does not begin with a bracket."""
    tag = f"{markers.rule(PYTHON_TAG)}?" if PYTHON_TAG in markers.ids else ""
    further = _further('"; " body', most)
    calls = f"calls: {tag} body {further}\nbody: {body}"
    if required:
        return f"start: calls\n{calls}"
    first = r"FIRST: /\s*([^{\s](?s:.*))?/"
    return "\n".join(
        [
            "start: calls | free",
            calls,
            first,
            markers.free_text(PYTHON_TAG, "FIRST"),
        ]
    )


def _arguments(tool: Tool, param: str, maker: Finite, loose: Collection[str]) -> Schema:
    """What a tool takes. Without `strict`, a schema outside the subset leaves it at any object."""
    schema = tool.parameters or NO_ARGUMENTS
    if not any(keyword in schema for keyword in ("type", *ALONE)):
        schema = {**schema, "type": "object"}
    if tool.name in loose:
        return maker.any_object()
    try:
        narrowed = narrow(maker, schema, param)
        if not _is_object(narrowed, maker):
            message = f"'{param}' must be a schema of an object."
            raise InvalidInput(message, param=param, details={"keyword": "type", "pointer": ""})
    except InvalidInput:
        if tool.strict:
            raise
        return maker.any_object()
    return narrowed


def _is_object(schema: Schema, maker: Finite) -> bool:
    if "$ref" in schema:
        return _is_object(maker.definitions[schema["$ref"].removeprefix("#/$defs/")], maker)
    if "anyOf" in schema:
        return all(_is_object(option, maker) for option in schema["anyOf"])
    if "enum" in schema:
        return all(isinstance(value, dict) for value in schema["enum"])
    return schema.get("type") == "object"
