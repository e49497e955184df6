"""Answers that may, or must, call tools: written by a dice, read by the parser of tool calls."""

from __future__ import annotations

import json
import random
from itertools import product

import jsonschema
import pytest

from onebox.core.errors import InvalidInput
from onebox.language.answers.tool_calls import (
    ArgumentsPiece,
    CallStart,
    ContentPiece,
    ToolCallParser,
    ToolFormat,
)
from onebox.language.grammars.grammar import Grammars
from onebox.language.grammars.tool_grammar import MAX_CALLS
from onebox.language.messages import Tool
from tests.support.grammar_walks import allowed, follow, random_walk
from tests.support.tiny_tokenizer import TinyTokenizer

FORMATS: tuple[ToolFormat, ...] = ("hermes", "llama", "mistral")
MARKS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<think>")
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
    "required": ["a"],
}
TOOLS = (
    Tool(name="add", parameters=ADD, strict=True),
    Tool(name="add_more", parameters=ADD),
    Tool(name="now"),
)
CALL = {
    "hermes": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
    "llama": '{"name": "add", "parameters": {"a": 1}}',
    "mistral": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]',
}


@pytest.fixture(scope="module", params=[(), MARKS], ids=["spelled", "special"])
def tokenizer(request: pytest.FixtureRequest) -> TinyTokenizer:
    return TinyTokenizer(special=request.param)


@pytest.fixture(scope="module")
def grammars(tokenizer: TinyTokenizer) -> Grammars:
    return Grammars(tokenizer)


def read(tool_format: ToolFormat, text: str) -> tuple[str, list[tuple[str, str]]]:
    """What the parser makes of an answer: its content, and the calls."""
    parser = ToolCallParser(tool_format)
    content, names, arguments = "", list[str](), list[str]()
    for piece in [*parser.feed(text), *parser.finish()]:
        if isinstance(piece, ContentPiece):
            content += piece.text
        elif isinstance(piece, CallStart):
            names.append(piece.name)
            arguments.append("")
        elif isinstance(piece, ArgumentsPiece):
            arguments[piece.index] += piece.text
    return content, list(zip(names, arguments, strict=True))


@pytest.mark.parametrize(("tool_format", "parallel"), product(FORMATS, (True, False)))
def test_a_required_call_is_made_and_is_valid(
    grammars: Grammars, tokenizer: TinyTokenizer, tool_format: ToolFormat, parallel: bool
) -> None:
    grammar = grammars.tool_calls(TOOLS, tool_format, True, parallel)
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    dice = random.Random(4)
    counts = set()
    for _ in range(12):
        content, calls = read(tool_format, random_walk(grammar, tokenizer, dice))
        assert content == ""
        counts.add(len(calls))
        for name, arguments in calls:
            jsonschema.validate(json.loads(arguments), schemas[name])
    assert 1 <= min(counts) <= max(counts) <= (MAX_CALLS if parallel else 1)


@pytest.mark.parametrize("tool_format", FORMATS)
def test_only_the_allowed_tools_can_be_called(
    grammars: Grammars, tokenizer: TinyTokenizer, tool_format: ToolFormat
) -> None:
    only = grammars.tool_calls(TOOLS[1:2], tool_format, True, True)
    assert follow(only, tokenizer, CALL[tool_format].replace("add", "add_more"))
    assert follow(only, tokenizer, CALL[tool_format]) is None


@pytest.mark.parametrize(("tool_format", "required"), product(FORMATS, (True, False)))
def test_one_call_ends_the_answer_unless_calls_are_parallel(
    grammars: Grammars, tokenizer: TinyTokenizer, tool_format: ToolFormat, required: bool
) -> None:
    one = follow(
        grammars.tool_calls(TOOLS, tool_format, required, False), tokenizer, CALL[tool_format]
    )
    assert one
    assert one.finished
    assert set(allowed(one, tokenizer.vocab_size)) == tokenizer.eos_ids


@pytest.mark.parametrize(
    ("tool_format", "text"),
    [
        ("hermes", f"{CALL['hermes']}\n{CALL['hermes']}"),
        ("llama", f"{CALL['llama']}; {CALL['llama']}"),
        (
            "mistral",
            '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}}]',
        ),
    ],
)
def test_parallel_calls_follow_each_other(
    grammars: Grammars, tokenizer: TinyTokenizer, tool_format: ToolFormat, text: str
) -> None:
    assert follow(grammars.tool_calls(TOOLS, tool_format, True, True), tokenizer, text)
    assert follow(grammars.tool_calls(TOOLS, tool_format, True, False), tokenizer, text) is None
    assert len(read(tool_format, text)[1]) == 2


@pytest.mark.parametrize("tool_format", FORMATS)
def test_auto_may_answer_in_text(
    grammars: Grammars, tokenizer: TinyTokenizer, tool_format: ToolFormat
) -> None:
    grammar = grammars.tool_calls(TOOLS, tool_format, False, True)
    for text in ("", "Zoë: it is 5 < 6, [a] {b}\n\n日本", " <tool", "<tool_calls are", "[TOOL"):
        matcher = follow(grammar, tokenizer, text)
        assert matcher
        assert not matcher.finished
        assert tokenizer.eos_ids <= set(allowed(matcher, tokenizer.vocab_size))


@pytest.mark.parametrize(
    ("tool_format", "before", "wrong"),
    [
        ("hermes", "Sure. <tool_call>", "x"),
        ("hermes", "Sure. <tool_call>", '\n{"name": "nope"'),
        ("hermes", '<tool_call>\n{"name": "add", "arguments": {"a": ', '"one"'),
        ("hermes", CALL["hermes"], " and"),
        ("llama", "", "{'"),
        ("llama", "", ' {"name"'),
        ("llama", '{"name": "add', '", "arguments"'),
        ("llama", '{"name": "', "nope"),
        ("mistral", "Sure [TOOL_CALLS]", "x"),
        ("mistral", "[TOOL_CALLS] [", "]"),
    ],
)
def test_a_call_that_was_begun_is_well_formed(
    grammars: Grammars,
    tokenizer: TinyTokenizer,
    tool_format: ToolFormat,
    before: str,
    wrong: str,
) -> None:
    grammar = grammars.tool_calls(TOOLS, tool_format, False, True)
    matcher = follow(grammar, tokenizer, before)
    assert matcher
    if before not in ("", CALL["hermes"]):
        assert not tokenizer.eos_ids & set(allowed(matcher, tokenizer.vocab_size))
    assert follow(grammar, tokenizer, before + wrong) is None


@pytest.mark.parametrize("tool_format", FORMATS)
def test_text_may_have_special_tokens_that_are_no_calls(tool_format: ToolFormat) -> None:
    tokenizer = TinyTokenizer(special=MARKS)
    grammar = Grammars(tokenizer).tool_calls(TOOLS, tool_format, False, True)
    matcher = follow(grammar, tokenizer, "hm<think>so")
    assert matcher
    assert tokenizer.encode("<think>")[0] in allowed(matcher, tokenizer.vocab_size)
    if tool_format != "llama":
        assert follow(grammar, tokenizer, f"hm<think>so {CALL[tool_format]}")


def test_a_strict_tool_with_an_unsupported_schema_is_refused_by_name(grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {}}}}
    tools = [TOOLS[0], Tool(name="odd", parameters=schema, strict=True)]
    with pytest.raises(InvalidInput) as caught:
        grammars.tool_calls(tools, "hermes", True, True)
    assert caught.value.param == "tools[1].parameters"
    assert caught.value.details == {"keyword": "not", "pointer": "/properties/a"}


@pytest.mark.parametrize("property", [{"not": {}}, {"pattern": "a^b"}])
def test_a_tool_that_is_not_strict_takes_any_object_then(
    grammars: Grammars, tokenizer: TinyTokenizer, property: dict[str, object]
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", **property}}}
    tools = [TOOLS[0], Tool(name="odd", parameters=schema)]
    grammar = grammars.tool_calls(tools, "llama", True, False)
    fine = '{"name": "odd", "parameters": {"b": [1, {"c": null}]}}'
    assert follow(grammar, tokenizer, fine)
    assert follow(grammar, tokenizer, fine.replace("odd", "add")) is None


@pytest.mark.parametrize("schema", [{"type": "string"}, {"enum": [1]}, {"anyOf": [{}, ADD]}])
def test_the_arguments_of_a_strict_tool_are_an_object(
    grammars: Grammars, schema: dict[str, object]
) -> None:
    tools = [Tool(name="odd", parameters=schema, strict=True)]
    with pytest.raises(InvalidInput, match="object"):
        grammars.tool_calls(tools, "hermes", True, True)


def test_definitions_of_several_tools_do_not_meet(
    grammars: Grammars, tokenizer: TinyTokenizer
) -> None:
    def tool(name: str, kind: str) -> Tool:
        schema = {"type": "object", "properties": {"v": {"$ref": "#/$defs/V"}}, "required": ["v"]}
        return Tool(name=name, parameters={**schema, "$defs": {"V": {"type": kind}}}, strict=True)

    grammar = grammars.tool_calls([tool("a", "null"), tool("b", "boolean")], "llama", True, False)
    assert follow(grammar, tokenizer, '{"name": "a", "parameters": {"v": null}}')
    assert follow(grammar, tokenizer, '{"name": "b", "parameters": {"v": true}}')
    assert follow(grammar, tokenizer, '{"name": "a", "parameters": {"v": true}}') is None
