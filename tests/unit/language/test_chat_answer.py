from __future__ import annotations

import json
import random

from onebox.core.decoding import Token
from onebox.language.answers.chat_answer import ChatAnswer
from onebox.language.answers.reasoning import Reasoning
from onebox.language.answers.tool_calls import ToolCallParser
from tests.unit.language.fakes import CALL, FakeTokenizer

CALLS = [
    {"name": "sum", "arguments": '{"of": [1, 2]}'},
    {"name": "look", "arguments": '{"at": "日本 the"}'},
]
NAMES = frozenset({"sum", "look"})


def markup(call):
    body = f'{{"name": "{call["name"]}", "arguments": {call["arguments"]}}}'
    return f"<tool_call>\n{body}\n</tool_call>"


def chat(text, *, cut=False, **options):
    """The finished answer and its deltas; the text comes in tokens of the fake tokenizer."""
    tokenizer = FakeTokenizer()
    answer = ChatAnswer(tokenizer, **options)
    deltas = []
    for token_id in tokenizer.encode(text, special=False):
        cut = answer.add(Token(token_id, -0.5))
        deltas += answer.drain()
        if cut:
            break
    answer.finish(cut=cut)
    return answer, deltas + answer.drain()


def parser():
    return ToolCallParser("hermes", names=NAMES)


def assembled(deltas):
    """What a streaming client makes of them."""
    calls = {}
    for delta in deltas:
        for change in delta.get("tool_calls", []):
            call = calls.setdefault(change["index"], {"arguments": ""})
            call["arguments"] += change["arguments"]
            call.update({name: change[name] for name in ("id", "name") if name in change})
    content = "".join(delta.get("content", "") for delta in deltas)
    value = {
        "content": None if calls and not content else content,
        "logprobs": [entry for delta in deltas for entry in delta.get("logprobs", [])],
        "tool_calls": [calls[index] for index in sorted(calls)],
    }
    thoughts = "".join(delta.get("reasoning", "") for delta in deltas)
    return {**value, "reasoning": thoughts} if thoughts else value


def tokens_of(value):
    return b"".join(bytes(entry["bytes"]) for entry in value["logprobs"]).decode()


def test_plain_text_is_content():
    answer, deltas = chat("Hello world")
    assert deltas == [{"content": "Hello"}, {"content": " world"}]
    assert answer.value() == {"content": "Hello world", "logprobs": None, "tool_calls": []}
    assert answer.reason("stop") == "stop"


def test_a_call_is_told_by_its_name_first_and_then_by_its_arguments():
    answer, deltas = chat(markup(CALLS[0]), calls=parser())
    (call,) = answer.value()["tool_calls"]
    assert deltas[0] == {
        "tool_calls": [{"index": 0, "id": call["id"], "name": "sum", "arguments": ""}]
    }
    assert all(set(delta) == {"tool_calls"} for delta in deltas)
    assert json.loads(call["arguments"]) == {"of": [1, 2]}


def test_an_answer_of_calls_alone_has_no_content_and_ends_for_them():
    answer, _ = chat("".join(map(markup, CALLS)), calls=parser())
    value = answer.value()
    assert value["content"] is None
    assert [{k: call[k] for k in ("name", "arguments")} for call in value["tool_calls"]] == CALLS
    assert answer.reason("stop") == "tool_calls"
    assert answer.reason("length") == "length"


def test_without_a_parser_the_marks_of_calls_are_content():
    answer, _ = chat(markup(CALLS[0]))
    assert answer.value()["content"] == markup(CALLS[0])


def test_an_answer_that_may_call_once_ends_before_the_second_call():
    answer, _ = chat("".join(map(markup, CALLS)) + "the END", calls=parser(), parallel=False)
    value = answer.value()
    assert [call["name"] for call in value["tool_calls"]] == ["sum"]
    assert value["content"] is None
    assert answer.reason("stop") == "tool_calls"


def test_a_mark_that_turns_out_to_open_no_call_is_content():
    for text in ("the <tool_call", "<tool_call>Hello", "the <tool_call> world"):
        answer, deltas = chat(text, calls=parser(), logprobs=True)
        assert answer.value()["content"] == text
        assert tokens_of(answer.value()) == text
        assert assembled(deltas) == answer.value()


def test_log_probabilities_cover_the_content_before_the_first_call():
    answer, _ = chat("Hello " + markup(CALLS[0]), calls=parser(), logprobs=True)
    value = answer.value()
    assert value["content"].strip() == "Hello"
    assert value["content"].startswith(tokens_of(value))
    assert tokens_of(value).startswith("Hello")


def test_thoughts_are_told_apart_and_counted():
    answer, deltas = chat(
        "<think>Hello world</think>\n\n the END", reasoning=Reasoning(opened=False)
    )
    assert answer.value()["content"] == "the END"
    assert answer.value()["reasoning"] == "Hello world"
    assert {"reasoning": " world"} in deltas
    thoughts = FakeTokenizer().encode("<think>Hello world</think>", special=False)
    assert answer.reasoning_tokens == len(thoughts)


def test_an_answer_without_thoughts_counts_none():
    answer, _ = chat("Hello world", reasoning=Reasoning(opened=False))
    assert answer.reasoning_tokens == 0
    assert "reasoning" not in answer.value()


def test_log_probabilities_leave_thoughts_out():
    answer, deltas = chat(
        "<think>hm</think>\n\nHello world", reasoning=Reasoning(opened=False), logprobs=True
    )
    assert tokens_of(answer.value()) == "Hello world"
    assert assembled(deltas) == answer.value()


def test_thoughts_calls_and_stop_strings_work_together():
    text = f"hm</think>Hello{markup(CALLS[1])} END the"
    answer, deltas = chat(
        text, reasoning=Reasoning(opened=True), calls=parser(), stops=["END"], logprobs=True
    )
    value = answer.value()
    assert value["reasoning"] == "hm"
    assert value["content"].startswith("Hello")
    assert "END" not in value["content"]
    assert [call["name"] for call in value["tool_calls"]] == ["look"]
    assert assembled(deltas) == value


def test_a_special_token_that_is_kept_takes_part():
    tokenizer = FakeTokenizer()
    answer = ChatAnswer(tokenizer, kept={CALL: b"<tool_call>"}, calls=parser())
    body = '{"name": "sum", "arguments": {}}</tool_call>'
    for token_id in [CALL, *tokenizer.encode(body, special=False)]:
        answer.add(Token(token_id))
    answer.finish(cut=False)
    assert [call["name"] for call in answer.value()["tool_calls"]] == ["sum"]


def test_what_clients_assemble_is_the_value_whatever_the_model_writes():
    rng = random.Random(7)
    parts = [
        "Hello", " world", "\n", "<think>", "</think>", *map(markup, CALLS), "<tool_call>",
        "</tool_call>", "{", "END", "日本", '{"name": "sum"}', "é",
    ]  # fmt: skip
    called = 0
    for _ in range(400):
        text = "".join(rng.choices(parts, k=rng.randrange(8)))
        answer, deltas = chat(
            text,
            reasoning=rng.choice([None, Reasoning(opened=rng.random() < 0.5)]),
            calls=rng.choice([None, parser()]),
            parallel=rng.random() < 0.5,
            stops=rng.sample(["END", "world", "日"], k=rng.randrange(3)),
            logprobs=True,
        )
        assert all(delta and all(delta.values()) for delta in deltas), text
        value = answer.value()
        assert assembled(deltas) == value, text
        assert tokens_of(value) in (value["content"] or ""), text
        called += bool(value["tool_calls"])
    assert called > 20
