from __future__ import annotations

import pytest

from onebox.core.decoding import Prompt, Token
from onebox.language.answers.answer import Answer
from onebox.language.answers.generation import Ending, TextGeneration, sequences_of
from onebox.language.sampling import SamplingFields
from tests.unit.language.fakes import EOS, CountingMatcher, FakeContext, FakeTokenizer

PROMPT = (1, 2, 3)
RESOLVED = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "seed": 7,
}


class Bench:
    """A generation over the fake tokenizer, fed as the engine would."""

    def __init__(self, prompts=(PROMPT,), echo="", ignore_eos=False, context_length=50, **fields):
        self.fields = SamplingFields(**{**RESOLVED, **fields})
        self.sequences = sequences_of(self.fields, Prompt(tuple(prompts)), context_length)
        self.context = FakeContext()
        tokenizer = FakeTokenizer()
        self.generation = TextGeneration(
            self.sequences,
            [Answer(tokenizer, stops=self.fields.stop, echo=echo) for _ in self.sequences],
            Ending(tokenizer.eos_ids, ignore_eos),
            self.context,
            choices=self.fields.n,
            about={"seed": 7},
        )
        self.generation.begin()

    def write(self, text, choice=0):
        for token_id in FakeTokenizer().encode(text, special=False):
            self.accept(token_id, choice)

    def accept(self, token_id, choice=0):
        self.generation.accept(self.sequences[choice], Token(token_id))

    def value(self):
        (output,) = self.generation.outputs()
        assert output.kind == "json"
        return output.value


def test_tokens_are_appended_and_told():
    bench = Bench()
    bench.write("Hello world")
    (sequence,) = bench.sequences
    assert sequence.output == FakeTokenizer().encode("Hello world", special=False)
    assert sequence.finish_reason is None
    assert bench.context.deltas == [
        {"index": 0, "text": "Hello"},
        {"index": 0, "text": " world"},
    ]


def test_the_end_token_ends_it_and_is_counted_but_is_no_text():
    bench = Bench()
    bench.write("the")
    bench.accept(EOS)
    assert bench.sequences[0].finish_reason == "stop"
    assert bench.context.deltas[-1] == {"index": 0, "finish_reason": "stop"}
    assert bench.value() == {
        "choices": [{"index": 0, "finish_reason": "stop", "text": "the", "logprobs": None}],
        "usage": {
            "prompt_tokens": 3,
            "cached_tokens": 0,
            "completion_tokens": 2,
            "reasoning_tokens": 0,
        },
        "seed": 7,
    }


def test_the_end_token_may_be_ignored():
    bench = Bench(ignore_eos=True)
    bench.accept(EOS)
    bench.write("the")
    assert bench.sequences[0].finish_reason is None
    assert bench.context.deltas == [{"index": 0, "text": "the"}]


def test_the_end_token_ends_an_answer_that_a_grammar_binds():
    bench = Bench(ignore_eos=True)
    bench.sequences[0].matcher = CountingMatcher(5)
    bench.accept(EOS)
    assert bench.sequences[0].finish_reason == "stop"


def test_an_answer_ends_at_its_length_with_all_its_text():
    bench = Bench(max_tokens=2, stop=[" world peace"])
    bench.write("Hello world")
    assert bench.sequences[0].finish_reason == "length"
    assert bench.context.deltas[-2:] == [
        {"index": 0, "text": " world"},
        {"index": 0, "finish_reason": "length"},
    ]


def test_a_stop_string_at_the_very_length_is_the_reason():
    bench = Bench(max_tokens=2, stop=["world"])
    bench.write("Hello world")
    assert bench.sequences[0].finish_reason == "stop"
    assert bench.value()["choices"][0]["text"] == "Hello "


def test_a_grammar_that_has_come_to_its_end_ends_the_answer():
    bench = Bench()
    bench.sequences[0].matcher = matcher = CountingMatcher(1)
    matcher.accept(EOS)
    bench.write("the")
    assert bench.sequences[0].finish_reason == "stop"
    assert bench.value()["choices"][0]["text"] == "the"


def test_left_open_an_answer_may_fill_the_context():
    bench = Bench(context_length=10)
    assert [sequence.max_tokens for sequence in bench.sequences] == [7]


def test_no_tokens_at_all_is_an_answer_that_has_ended():
    bench = Bench(max_tokens=0, echo="Once")
    assert bench.sequences[0].finish_reason == "length"
    assert bench.context.deltas == [
        {"index": 0, "text": "Once"},
        {"index": 0, "finish_reason": "length"},
    ]
    assert bench.value()["usage"]["completion_tokens"] == 0


def test_each_prompt_has_its_choices_side_by_side_with_seeds_of_their_own():
    bench = Bench(prompts=[(1,), (2, 2)], n=2, max_tokens=3)
    assert [sequence.prompt for sequence in bench.sequences] == [(1,), (1,), (2, 2), (2, 2)]
    assert [sequence.sampling.seed for sequence in bench.sequences] == [7, 8, 9, 10]
    bench.write("the", choice=3)
    assert bench.context.deltas == [{"index": 3, "text": "the"}]


def test_a_prompt_is_counted_once_and_what_was_written_for_every_choice():
    bench = Bench(prompts=[(1,), (2, 2)], n=2, max_tokens=1)
    for choice, cached in enumerate([0, 1, 2, 1]):
        bench.sequences[choice].cached = cached
        bench.write("the", choice)
    usage = bench.value()["usage"]
    assert usage["prompt_tokens"] == 3
    assert usage["cached_tokens"] == 1
    assert usage["completion_tokens"] == 4


@pytest.mark.parametrize("bound", [False, True])
def test_every_choice_has_a_matcher_of_its_own(bound):
    class Grammar:
        def start(self):
            return CountingMatcher(3)

    prompt = Prompt((PROMPT,), Grammar() if bound else None)
    fields = SamplingFields(**RESOLVED, n=2)
    first, second = sequences_of(fields, prompt, 50)
    assert (first.matcher is not None) == bound
    assert not bound or first.matcher is not second.matcher
