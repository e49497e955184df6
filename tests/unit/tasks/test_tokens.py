from __future__ import annotations

import pytest
from pydantic import ValidationError

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput
from onebox.language.limits import step_bytes
from onebox.tasks.chat import Chat
from onebox.tasks.completion import Completion
from onebox.tasks.tokens import Detokenize, DetokenizeInput, Tokenize, TokenizeInput
from tests.unit.language.fakes import BOS, FakeContext, FakeRenderer, FakeTokenizer

FACTS = {"context_length": 40, "vocab": FakeTokenizer.vocab_size, "vision": False}
ENTRY = Entry("k", "tiny", "/tiny", "", 0, "ready", facts=FACTS)


def tokenizers(entry):
    return FakeTokenizer()


def run(task, request):
    task.check(request, ENTRY)
    # Beside the engine, which is left nothing to do: neither model nor tokenizer.
    prompt = task.encode(request, ENTRY, None)
    generation = task.open(None, request, prompt, FakeContext(ENTRY))
    assert not generation.sequences
    (output,) = generation.outputs()
    return output.value


def test_a_text_becomes_tokens_and_their_count():
    the = FakeTokenizer().encode("the", special=False)
    value = run(Tokenize(tokenizers), TokenizeInput(text="the"))
    assert value == {"tokens": (BOS, *the), "count": 2, "max_model_len": 40}
    value = run(Tokenize(tokenizers), TokenizeInput(text="the", add_special_tokens=False))
    assert value["tokens"] == tuple(the)


def test_a_conversation_is_put_into_the_chat_format_first():
    messages = [{"role": "user", "content": "the"}]
    value = run(Tokenize(tokenizers, FakeRenderer("A:")), TokenizeInput(messages=messages))
    assert FakeTokenizer().decode(value["tokens"]) == "user:the\nA:"


@pytest.mark.parametrize(
    "fields", [{}, {"text": "a", "messages": [{"role": "user", "content": "a"}]}, {"messages": []}]
)
def test_there_is_one_thing_to_tokenize(fields):
    with pytest.raises(ValidationError):
        TokenizeInput(**fields)


def test_tokens_become_their_text():
    tokens = FakeTokenizer().encode("Hello 日本", special=True)
    assert run(Detokenize(tokenizers), DetokenizeInput(tokens=tokens)) == {"text": "Hello 日本"}
    assert run(Detokenize(tokenizers), DetokenizeInput(tokens=[])) == {"text": ""}


def test_a_token_that_the_model_does_not_have_is_refused_with_its_number():
    with pytest.raises(InvalidInput) as caught:
        Detokenize().check(DetokenizeInput(tokens=[1, 9999]), ENTRY)
    assert caught.value.param == "tokens"
    assert caught.value.details["token"] == 9999


@pytest.mark.parametrize("task", [Chat(), Completion(), Tokenize(), Detokenize()])
def test_whatever_comes_first_sets_memory_aside_for_texts_that_join_it(task):
    assert task.reserve_bytes(None, ENTRY, None) == step_bytes(ENTRY) > 0
