"""Tool calls are found in what a model writes, however it comes, and nothing else is."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest

from onebox.language.answers.tool_calls import (
    ArgumentsPiece,
    CallStart,
    ContentPiece,
    ToolCallParser,
    format_of,
    native_format,
)

A = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
B = '{"name": "add", "arguments": {"a": [1, -2.5e3, {"b": null}], "c": "x\\"}</tool_call>"}}'
P = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
NAMES = ("get_weather", "add", "f")
PARIS = ("get_weather", '{"city": "Paris"}')
ADD = ("add", '{"a": [1, -2.5e3, {"b": null}], "c": "x\\"}</tool_call>"}')


def read(tool_format, pieces, **options):
    """(content, calls, parser) of a text that comes in these pieces."""
    parser = ToolCallParser(tool_format, **{"names": NAMES, **options})
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    content, calls, ids = "", [], []
    for event in events:
        if isinstance(event, ContentPiece):
            assert event.text
            content += event.text
        elif isinstance(event, CallStart):
            assert event.index == len(calls)
            ids.append(event.id)
            calls.append((event.name, ""))
        else:
            assert isinstance(event, ArgumentsPiece)
            name, text = calls[event.index]
            calls[event.index] = (name, text + event.text)
    assert all(re.fullmatch("call_[0-9a-f]{24}", one) for one in ids)
    assert len(set(ids)) == len(ids)
    return content, calls, parser


def hermes(*calls):
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


CASES = [
    ("hermes", "Hello <b>world</b> {}", "Hello <b>world</b> {}", []),
    ("hermes", "  ", "  ", []),
    ("hermes", "", "", []),
    ("hermes", hermes(A), "", [PARIS]),
    ("hermes", "\n\n" + hermes(A, B) + "\n", "", [PARIS, ADD]),
    ("hermes", f"Let me look.\n{hermes(A)}\nDone. ", "Let me look.\n\nDone. ", [PARIS]),
    ("hermes", f"<tool_call>{P}</tool_call>", "", [PARIS]),
    ("hermes", '<tool_call>{"arguments": {"x":1} , "id": 7, "name": "f"}</tool_call>', "", None),
    ("hermes", '<tool_call>{"name": "f"}</tool_call>', "", [("f", "{}")]),
    ("hermes", f"<tool_call>{A} and so on", " and so on", [PARIS]),
    ("hermes", f"<tool_call><tool_call>{A}</tool_call>", "<tool_call>", [PARIS]),
    ("hermes", f"<tool_cal<tool_call>{A}</tool_call></tool", "<tool_cal</tool", [PARIS]),
    ("llama", P, "", [PARIS]),
    ("llama", f" {P}; {A}\n", "", [PARIS, PARIS]),
    ("llama", f"<|python_tag|>{P}", "", [PARIS]),
    ("llama", f"Sure. <|python_tag|>{P}", "Sure. ", [PARIS]),
    ("llama", f"I would call {P}", f"I would call {P}", []),
    ("llama", '<|python_tag|>print("x")', '<|python_tag|>print("x")', []),
    ("llama", '{"name": "Bob", "age": 7}', '{"name": "Bob", "age": 7}', []),
    ("llama", f"{P}; and more", "; and more", [PARIS]),
    ("mistral", f"[TOOL_CALLS] [{A}, {B}]", "", [PARIS, ADD]),
    ("mistral", f"Well: [TOOL_CALLS][{A}] ok", "Well:  ok", [PARIS]),
    ("mistral", "[1, 2] [TOOL_CALLS]", "[1, 2] [TOOL_CALLS]", []),
    ("mistral", f"[TOOL_CALLS] {A}", f"[TOOL_CALLS] {A}", []),
    ("mistral", "[TOOL_CALLS] []", "[TOOL_CALLS] []", []),
]
NO_CALLS = [
    "__import__('os').system('touch /tmp/x')",
    '{"name": "f", "arguments": __import__("os").system("true")}',
    '{"name": "f", "arguments": {"a": 1,}}',
    '{"name": "f", "arguments": {"a": 01}}',
    '{"name": "f", "arguments": {"a": 1e}}',
    '{"name": "f", "arguments": {"a": tru}}',
    '{"name": "f", "arguments": {"a": "\n"}}',
    '{"name": "f", "arguments": {"a": "\\x"}}',
    '{"name": "f", "arguments": {"a": "\\u12g4"}}',
    '{"name": "f", "arguments": {\'a\': 1}}',
    '{"name": "f", "arguments": {"a": NaN}}',
    '{"name": "f", "arguments": {"a": [}]}}',
    '{"name": "f", "arguments": "{}"}',
    '{"name": "f", "arguments": [1]}',
    '{"name": "f", "arguments": null}',
    '{"name": "f", "name": "add", "arguments": {}}',
    '{"name": 7, "arguments": {}}',
    '{"name": "unknown", "arguments": {}}',
    '{"name": "a b", "arguments": {}}',
    '{"arguments": {}}',
    "{}",
    '["f"]',
    '{"name": "f", "arguments": ' + '{"a":' * 70 + "1" + "}" * 71,
]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(("tool_format", "text", "content", "calls"), CASES)
def test_every_split_of_a_text_reads_the_same(tool_format, text, content, calls, eager):
    expected = [("f", '{"x":1}')] if calls is None else calls
    splits = [[text], list(text)]
    splits += [[text[:cut], text[cut:]] for cut in range(len(text))]
    dice = random.Random(text)
    for _ in range(50):
        cuts = sorted(dice.choices(range(len(text) + 1), k=4))
        splits.append([text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])])
    for pieces in splits:
        found = read(tool_format, pieces, eager=eager)
        assert found[:2] == (content, expected)
        assert not found[2].is_cut


@pytest.mark.parametrize("text", NO_CALLS)
def test_what_is_no_correct_call_is_content_to_the_letter(text):
    for marked in (f"<tool_call>\n{text}\n</tool_call>", f"<tool_call>{text}", f"a{text}"):
        assert read("hermes", [marked])[:2] == (marked, [])
        assert read("hermes", list(marked))[:2] == (marked, [])
    assert read("llama", [text])[:2] == (text, [])
    assert read("mistral", [f"[TOOL_CALLS] [{text}]"])[:2] == (f"[TOOL_CALLS] [{text}]", [])


def test_calls_of_any_name_are_taken_when_no_names_are_given():
    text = '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'
    assert read("hermes", [text], names=None)[1] == [("unknown", "{}")]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("cut", range(len(hermes(B)) + 1))
def test_a_text_cut_inside_a_call_keeps_what_there_is_of_it(cut, eager):
    text = hermes(B)
    for pieces in ([text[:cut]], list(text[:cut])):
        content, calls, parser = read("hermes", pieces, eager=eager)
        begun = text.index('"arguments": {') + len('"arguments": ')
        if cut <= begun:
            assert (content, calls, parser.is_cut) == (text[:cut], [], False)
            continue
        assert content == ""
        ((name, arguments),) = calls
        assert name == "add"
        assert ADD[1].startswith(arguments)
        assert parser.is_cut == (cut < text.index("}\n</tool_call>") + 1)
        if not parser.is_cut:
            assert arguments == ADD[1]
        elif cut < len(text) - len("}\n</tool_call>"):
            assert arguments == text[begun:cut]


def test_arguments_are_passed_on_as_they_come_where_a_grammar_keeps_them_correct():
    parser = ToolCallParser("hermes", eager=True, new_id=lambda: "call_1")
    assert parser.feed('<tool_call>{"name": "f", "arguments"') == []
    assert parser.feed(': {"a"') == [CallStart(0, "call_1", "f"), ArgumentsPiece(0, '{"a"')]
    assert parser.feed(": 1}") == [ArgumentsPiece(0, ": 1}")]
    assert parser.feed("}</tool_call>") == []
    assert parser.finish() == []


def test_what_follows_an_error_in_passed_on_arguments_is_content():
    text = '<tool_call>{"name": "f", "arguments": {"a": 1, oops}}</tool_call>'
    for pieces in ([text], list(text)):
        content, calls, _ = read("hermes", pieces, eager=True)
        assert (content, calls) == ("oops}}</tool_call>", [("f", '{"a": 1, ')])


def test_content_is_not_held_back_longer_than_it_may_be_a_call():
    parser = ToolCallParser("hermes")
    assert parser.feed("Hi <tool_") == [ContentPiece("Hi ")]
    assert parser.feed("box>") == [ContentPiece("<tool_box>")]


def test_random_objects_are_read_as_the_json_library_reads_them():
    dice = random.Random(4)
    alphabet = '{}[]":,\\ntrue01.-e "a'
    for _ in range(3000):
        text = json.dumps({"name": "f", "arguments": {"k": dice.choice([1.5, "é\n", [None], {}])}})
        place = dice.randrange(len(text))
        text = text[:place] + dice.choice(alphabet) + text[place + dice.randrange(2) :]
        _, calls, parser = read("hermes", [f"<tool_call>{text}</tool_call>"], names=None)
        try:
            value, _ = json.JSONDecoder(object_pairs_hook=no_twins).raw_decode(text.lstrip())
        except ValueError:
            assert parser.is_cut or calls == []
            continue
        value = value if isinstance(value, dict) else {}
        if calls:
            assert calls[0][0] == value["name"]
            assert json.loads(calls[0][1]) == value.get("arguments", {})
        else:
            is_name = re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", str(value.get("name", "")))
            assert not is_name or not isinstance(value.get("arguments", 0), dict)


def no_twins(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, None),
        ("{{ messages }}", None),
        ("{% if tools %}<tool_call>{% endif %}", "hermes"),
        ("{% if tools %}<tool_call><function=x>{% endif %}", None),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", "mistral"),
        ("{% if tools %}[TOOL_CALLS]{{ name }}[ARGS]{% endif %}", None),
        ("""{% if tools %}'{"name": function name, "parameters": dict}'{% endif %}""", "llama"),
        ("{% if tools %}Action: ```json{% endif %}", None),
    ],
)
def test_the_form_of_calls_comes_from_the_template(template, expected):
    assert native_format(template) == expected
    assert format_of(template) == (expected or "hermes")
