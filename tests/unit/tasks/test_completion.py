from __future__ import annotations

import pytest
from pydantic import ValidationError

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.decoding import Token
from onebox.core.errors import ContextOverflow, InvalidInput
from onebox.tasks.completion import Completion, CompletionInput
from tests.unit.language.fakes import BOS, EOS, FakeContext, FakeTokenizer

FACTS = {"context_length": 40, "vocab": FakeTokenizer.vocab_size}
ENTRY = Entry("k", "tiny", "/tiny", "", 0, "ready", facts=FACTS)


class Model:
    fingerprint = "fp"

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer


def complete(text, *, tokenizer=None, **fields):
    """The prompt, the deltas and the value of a completion in which the model writes the text."""
    tokenizer = tokenizer or FakeTokenizer()
    task = Completion(lambda entry: tokenizer)
    request = task.resolve(CompletionInput(**fields), ENTRY, TaskDefaults(1, 1.0))
    task.check(request, ENTRY)
    prompt = task.encode(request, ENTRY, None)
    context = FakeContext(ENTRY)
    generation = task.open(Model(tokenizer), request, prompt, context)
    for sequence in generation.sequences:
        for token_id in [*tokenizer.encode(text, special=False), EOS]:
            if sequence.finish_reason is None:
                generation.accept(sequence, Token(token_id, -1.0))
    (output,) = generation.outputs()
    return prompt, context.deltas, output.value


def test_texts_and_token_ids_may_be_mixed():
    prompt, _, value = complete(" world", prompts=["Hello", [1, 2]], n=2)
    assert prompt.ids == ((BOS, *FakeTokenizer().encode("Hello", special=False)), (1, 2))
    assert [choice["index"] for choice in value["choices"]] == [0, 1, 2, 3]
    assert {choice["text"] for choice in value["choices"]} == {" world"}
    assert value["usage"]["prompt_tokens"] == 4
    assert value["fingerprint"] == "fp"


def test_sixteen_tokens_are_written_unless_more_are_asked_for():
    _, _, value = complete("the" * 20, prompts=["Hello"])
    assert value["choices"][0]["text"] == "the" * 16
    assert value["choices"][0]["finish_reason"] == "length"


def test_the_prompt_is_given_back_first():
    _, deltas, value = complete(" the", prompts=["Hello", [*b"ab"]], echo=True)
    assert [choice["text"] for choice in value["choices"]] == ["Hello the", "ab the"]
    assert deltas[:2] == [{"index": 0, "text": "Hello"}, {"index": 1, "text": "ab"}]


def test_only_the_prompt_is_given_back_when_no_tokens_are_wanted():
    _, deltas, value = complete("the", prompts=["Hello"], echo=True, max_tokens=0)
    assert deltas == [{"index": 0, "text": "Hello"}, {"index": 0, "finish_reason": "length"}]
    assert value["choices"][0]["text"] == "Hello"


def test_log_probabilities_say_where_their_tokens_begin():
    _, _, value = complete(" world the", prompts=["Hello"], top_logprobs=0)
    logprobs = value["choices"][0]["logprobs"]
    assert [(one["token"], one["offset"]) for one in logprobs] == [(" world", 0), (" the", 6)]


def test_a_word_that_goes_on_keeps_its_space_in_front():
    pieces = FakeTokenizer(pieces=True)
    *_, value = complete(" world", tokenizer=pieces, prompts=["Hello"])
    assert value["choices"][0]["text"] == " world"
    *_, value = complete(" world", tokenizer=pieces, prompts=[[BOS]])
    assert value["choices"][0]["text"] == "world"


def test_an_empty_prompt_begins_a_text():
    tokenizer = FakeTokenizer()
    tokenizer.encode = lambda text, special: []
    assert complete("", tokenizer=tokenizer, prompts=[""])[0].ids == ((BOS,),)
    tokenizer.bos_id = None
    with pytest.raises(InvalidInput, match="empty") as caught:
        complete("", tokenizer=tokenizer, prompts=[""])
    assert caught.value.param == "prompt"


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers():
    with pytest.raises(ContextOverflow) as caught:
        complete("", prompts=["Hello", "x" * 38])
    assert caught.value.param == "prompt"
    assert caught.value.details == {"prompt_tokens": 39, "max_tokens": 16, "context_length": 40}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompts": ["a"], "echo": True, "top_logprobs": 0}, "echo"),
        ({"prompts": [[1, FakeTokenizer.vocab_size]]}, "prompt"),
        ({"prompts": ["a"], "logit_bias": {100_000: 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, param):
    with pytest.raises(InvalidInput) as caught:
        Completion().check(CompletionInput(**fields), ENTRY)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"prompts": []},
        {"prompts": ["a"] * 129},
        {"prompts": ["a"] * 65, "n": 2},
        {"prompts": [[-1]]},
    ],
)
def test_too_few_or_too_many_texts_are_refused(fields):
    with pytest.raises(ValidationError):
        CompletionInput(**fields)


def test_every_choice_of_every_prompt_is_one_of_the_sequences_written_side_by_side():
    assert Completion().items(CompletionInput(prompts=["a", "b"], n=3)) == 6


def test_the_first_text_that_is_too_long_is_the_last_that_is_read():
    read = []

    class Noting(FakeTokenizer):
        def encode(self, text, *, special):
            read.append(text)
            return super().encode(text, special=special)

    with pytest.raises(ContextOverflow):
        complete("", tokenizer=Noting(), prompts=["the", "x" * 100, "y"])
    assert read == ["the", "x" * 100]
