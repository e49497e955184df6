from __future__ import annotations

import pytest
from pydantic import ValidationError

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.decoding import Token
from onebox.core.errors import ContextOverflow, InvalidInput, TaskNotSupported
from onebox.tasks.chat import Chat, ChatInput
from tests.unit.language.fakes import (
    EOS,
    CountingMatcher,
    FakeContext,
    FakeRenderer,
    FakeTokenizer,
)

HELLO = [{"role": "user", "content": "Hello world"}]
SHOWN = [{"role": "user", "content": [{"type": "image", "index": 0}]}]
SUM = {"name": "sum", "parameters": {"type": "object"}}
LOOK = {"name": "look", "strict": True}
PICTURE = "data:image/png;base64,AAAA"


def entry(**facts):
    facts = {"context_length": 100, "vocab": FakeTokenizer.vocab_size, "vision": False, **facts}
    return Entry("k", "tiny", "/tiny", "", 0, "ready", facts=facts)


def ask(**fields):
    return ChatInput.model_validate({"messages": HELLO, **fields})


class Silence(FakeRenderer):
    def render(self, template, variables):
        return ""


class Model:
    tokenizer = FakeTokenizer()
    fingerprint = "fp"


class Talk:
    """One request from its input to its value."""

    def __init__(self, ending="", **fields):
        self.tokenizer = FakeTokenizer()
        self.task = Chat(lambda entry: self.tokenizer, FakeRenderer(ending))
        self.entry = entry()
        self.request = self.task.resolve(ask(**fields), self.entry, TaskDefaults(1, 1.0))
        self.task.check(self.request, self.entry)
        self.prompt = self.task.encode(self.request, self.entry, None)

    def answered(self, text):
        context = FakeContext(self.entry)
        generation = self.task.open(Model(), self.request, self.prompt, context)
        for sequence in generation.sequences:
            for token_id in [*self.tokenizer.encode(text, special=False), EOS]:
                if sequence.finish_reason is None:
                    generation.accept(sequence, Token(token_id, -1.0))
        (output,) = generation.outputs()
        return output.value


def refusal(**fields):
    facts = fields.pop("facts", {})
    with pytest.raises(InvalidInput) as caught:
        Chat().check(ask(**fields), entry(**facts))
    return caught.value


def test_the_conversation_becomes_the_prompt():
    talk = Talk()
    assert talk.prompt.ids == (tuple(talk.tokenizer.encode("user:Hello world\n", special=False)),)
    assert talk.prompt.grammar is None


def test_the_answer_has_all_that_the_contract_names():
    value = Talk(seed=5, top_logprobs=0).answered("the END")
    assert value["fingerprint"] == "fp"
    assert value["seed"] == 5
    assert value["usage"]["completion_tokens"] == 4
    (choice,) = value["choices"]
    assert choice["index"] == 0
    assert choice["content"] == "the END"
    assert choice["tool_calls"] == []
    assert choice["finish_reason"] == "stop"
    assert [one["token"] for one in choice["logprobs"]] == ["the", " ", "END"]


def test_what_is_left_open_is_filled_in_before_queueing():
    resolved = Chat().resolve(ask(), entry(defaults={"top_k": 9}), TaskDefaults(1, 1.0))
    assert resolved.temperature == 1.0
    assert resolved.top_k == 9
    assert resolved.seed is not None


def test_every_choice_is_answered():
    value = Talk(n=3, stop=["END"]).answered("the END")
    assert [choice["content"] for choice in value["choices"]] == ["the "] * 3


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers():
    with pytest.raises(ContextOverflow) as caught:
        Talk(max_tokens=93)
    assert caught.value.details["context_length"] == 100
    assert caught.value.details["max_tokens"] == 93


def test_a_prompt_of_no_tokens_is_refused():
    task = Chat(lambda entry: FakeTokenizer(), FakeRenderer())
    silent = ChatInput.model_validate({"messages": [{"role": "user", "content": ""}]})
    task.encode(silent, entry(), None)
    with pytest.raises(InvalidInput, match="nothing"):
        Chat(lambda entry: FakeTokenizer(), Silence()).encode(silent, entry(), None)


def test_tools_are_shown_and_their_calls_are_read_also_without_grammars():
    talk = Talk(tools=[SUM])
    assert talk.tokenizer.decode(talk.prompt.ids[0]).startswith("tools:sum\n")

    def refuse(*asked):
        raise TaskNotSupported("this tokenizer cannot be followed")

    talk.tokenizer.grammars.tool_calls = refuse
    talk.prompt = talk.task.encode(talk.request, talk.entry, None)
    assert talk.prompt.grammar is None
    (choice,) = talk.answered('<tool_call>{"name": "sum", "arguments": {}}</tool_call>')["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["name"] for call in choice["tool_calls"]] == ["sum"]


def test_tools_that_may_not_be_called_are_neither_shown_nor_read():
    talk = Talk(tools=[SUM, LOOK], allowed_tools=["look"])
    assert talk.tokenizer.decode(talk.prompt.ids[0]).startswith("tools:look\n")
    call = '<tool_call>{"name": "sum", "arguments": {}}</tool_call>'
    talk = Talk(tools=[SUM], tool_choice="none")
    assert talk.tokenizer.decode(talk.prompt.ids[0]).startswith("user:")
    assert talk.answered(call)["choices"][0]["content"] == call


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"tools": [SUM]}, ("tools", ["sum"], "hermes", False, True)),
        ({"tools": [SUM], "tool_choice": "required"}, ("tools", ["sum"], "hermes", True, True)),
        (
            {"tools": [SUM, LOOK], "tool_choice": "required", "allowed_tools": ["look"]},
            ("tools", ["look"], "hermes", True, True),
        ),
        (
            {"tools": [SUM, LOOK], "parallel_tool_calls": False},
            ("tools", ["sum", "look"], "hermes", False, False),
        ),
        ({"tools": [LOOK], "tool_choice": "none"}, None),
        ({"response_format": {"type": "json_object"}}, "object"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"type": "null"}}},
            ("schema", {"type": "null"}),
        ),
    ],
)
def test_the_grammar_is_that_of_the_wanted_form(fields, grammar):
    assert Talk(**fields).prompt.grammar == grammar


def test_a_bound_answer_takes_its_matcher_and_has_no_thoughts():
    class Grammar:
        def start(self):
            return CountingMatcher(99)

    talk = Talk(response_format={"type": "json_object"})
    talk.tokenizer.grammars.json_object = Grammar
    talk.prompt = talk.task.encode(talk.request, talk.entry, None)
    assert talk.answered("<think>{}")["choices"][0]["content"] == "<think>{}"


def test_thoughts_are_told_apart_also_where_the_template_opened_them():
    value = Talk().answered("<think>hm</think>\nthe")
    assert (value["choices"][0]["reasoning"], value["choices"][0]["content"]) == ("hm", "the")
    assert value["usage"]["reasoning_tokens"] > 0
    value = Talk(ending="assistant:<think>\n").answered("hm</think>the")
    assert (value["choices"][0]["reasoning"], value["choices"][0]["content"]) == ("hm", "the")


def test_no_tokens_at_all_gives_an_empty_answer():
    (choice,) = Talk(max_tokens=0).answered("the")["choices"]
    assert (choice["content"], choice["finish_reason"]) == ("", "length")


def test_pictures_are_refused_for_a_model_without_eyes():
    assert refusal(images=[PICTURE]).param == "messages"


def test_a_picture_is_shown_once():
    part = {"type": "image", "index": 0}
    for shown in (
        [{"role": "user", "content": [part] * 2}],
        [{"role": "user", "content": [part]}] * 2,
    ):
        error = refusal(messages=shown, images=[PICTURE], facts={"vision": True})
        assert "shown twice" in error.message


def test_a_picture_that_was_not_sent_is_refused_with_its_number():
    shown = [{"role": "user", "content": [{"type": "image", "index": 1}]}]
    error = refusal(messages=shown, images=[PICTURE], facts={"vision": True})
    assert "picture 1" in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [SUM, SUM]}, "tools"),
        ({"tools": [SUM], "allowed_tools": ["look"]}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [SUM], "tool_choice": "required", "allowed_tools": []}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [SUM], "response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {FakeTokenizer.vocab_size: 1}}, "logit_bias"),
        ({"logit_bias": {-1: 1}}, "logit_bias"),
        (
            {"messages": SHOWN, "images": [PICTURE], "tools": [SUM], "facts": {"vision": True}},
            "tools",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(fields, param):
    assert refusal(**fields).param == param


def test_a_conversation_has_at_least_one_message():
    with pytest.raises(ValidationError):
        ask(messages=[])


def test_the_task_says_which_requests_want_equal_bits():
    assert Chat().is_deterministic(ask(deterministic=True))
    assert not Chat().is_deterministic(ask())


def test_every_choice_is_one_of_the_sequences_that_are_written_side_by_side():
    assert Chat().items(ask(n=3)) == 3
