from __future__ import annotations

import math
import random

import pytest

from onebox.core.decoding import Token
from onebox.language.answers.answer import Answer
from tests.unit.language.fakes import CALL, EOS, FakeTokenizer


def token(token_id, top=()):
    return Token(token_id, -0.25, tuple(top))


def write(answer, ids, *, cut=True):
    """Feed the ids until the text ends; all deltas."""
    deltas = []
    for token_id in ids:
        ended = answer.add(token(token_id))
        deltas += answer.drain()
        if ended:
            answer.finish(cut=True)
            break
    else:
        answer.finish(cut=False)
    return deltas + answer.drain()


def encode(text):
    return FakeTokenizer().encode(text, special=False)


def assembled(deltas):
    """What a streaming client makes of them."""
    return {
        "text": "".join(delta.get("text", "") for delta in deltas),
        "logprobs": [entry for delta in deltas for entry in delta.get("logprobs", [])],
    }


def test_every_token_gives_one_delta_with_its_text():
    answer = Answer(FakeTokenizer())
    assert write(answer, encode("Hello world the")) == [
        {"text": "Hello"},
        {"text": " world"},
        {"text": " the"},
    ]
    assert answer.value() == {"text": "Hello world the", "logprobs": None}


def test_the_deltas_of_random_tokens_add_up_to_the_value():
    tokenizer = FakeTokenizer()
    rng = random.Random(6)
    ends = 0
    for _ in range(300):
        stops = rng.sample(["END", "sto", "日", "e", "d H"], k=rng.randrange(3))
        answer = Answer(tokenizer, stops=stops, logprobs=True)
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(10)] + encode("caf日本 END")
        rng.shuffle(ids)
        deltas = write(answer, ids)
        assert assembled(deltas) == answer.value()
        assert all(delta.get("text") for delta in deltas)
        text = tokenizer.decode(ids)
        assert text.startswith(answer.value()["text"])
        ends += answer.value()["text"] != text
    assert ends > 50


def test_log_probabilities_come_with_the_text_of_their_tokens():
    answer = Answer(FakeTokenizer(), logprobs=True)
    first, second = write(answer, encode("Hello world"))
    assert first["text"] == "Hello"
    assert [entry["token"] for entry in first["logprobs"]] == ["Hello"]
    assert [entry["bytes"] for entry in second["logprobs"]] == [list(b" world")]
    assert [entry["offset"] for entry in answer.value()["logprobs"]] == [0, 5]


def test_the_tokens_of_one_character_are_told_of_together_when_it_is_whole():
    answer = Answer(FakeTokenizer(), logprobs=True)
    data = "é".encode()
    (delta,) = write(answer, data)
    assert delta["text"] == "é"
    assert [entry["bytes"] for entry in delta["logprobs"]] == [[data[0]], [data[1]]]
    assert [entry["offset"] for entry in delta["logprobs"]] == [0, 0]


def test_what_is_held_back_is_told_of_with_its_text():
    answer = Answer(FakeTokenizer(), logprobs=True, stops=["world peace"])
    deltas = write(answer, encode("Hello world the"))
    assert [delta["text"] for delta in deltas] == ["Hello", " ", "world the"]
    told = [[entry["token"] for entry in delta.get("logprobs", [])] for delta in deltas]
    assert told == [["Hello"], [], [" world", " the"]]


def test_what_a_stop_string_cuts_off_is_not_told_of():
    answer = Answer(FakeTokenizer(), logprobs=True, stops=["orld"])
    write(answer, encode("Hello world the"))
    value = answer.value()
    assert value["text"] == "Hello w"
    assert [entry["token"] for entry in value["logprobs"]] == ["Hello"]


def test_a_stop_string_is_found_across_tokens_and_inside_characters_of_several():
    answer = Answer(FakeTokenizer(), stops=["é world"])
    write(answer, [*encode("the"), *"é".encode(), *encode(" world the")])
    assert answer.value()["text"] == "the"


def test_what_may_begin_a_stop_string_comes_at_the_end_of_the_text():
    answer = Answer(FakeTokenizer(), stops=["the END"])
    write(answer, encode("Hello the "))
    assert answer.value()["text"] == "Hello the "


def test_half_a_character_at_the_end_is_told_of_as_one_mark():
    answer = Answer(FakeTokenizer(), logprobs=True)
    (delta,) = write(answer, "é".encode()[:1])
    assert delta["text"] == "\ufffd"
    assert [entry["token"] for entry in delta["logprobs"]] == ["\ufffd"]


def test_special_tokens_are_neither_text_nor_log_probabilities():
    answer = Answer(FakeTokenizer(), logprobs=True)
    write(answer, [CALL, *encode("the"), EOS])
    value = answer.value()
    assert value["text"] == "the"
    assert [entry["token"] for entry in value["logprobs"]] == ["the"]


def test_alternatives_are_spelt_out_special_tokens_too():
    answer = Answer(FakeTokenizer(), logprobs=True)
    (the,) = encode("the")
    answer.add(token(the, [(the, -0.25), (0xC3, -1.5), (EOS, -math.inf)]))
    (delta,) = answer.drain()
    assert delta["logprobs"][0]["top"] == [
        {"token": "the", "bytes": list(b"the"), "logprob": -0.25},
        {"token": "\ufffd", "bytes": [0xC3], "logprob": -1.5},
        {"token": "<|end|>", "bytes": list(b"<|end|>"), "logprob": -9999.0},
    ]


@pytest.mark.parametrize("logprobs", [False, True])
def test_the_echo_is_the_first_delta(logprobs):
    answer = Answer(FakeTokenizer(), echo="Once", logprobs=logprobs)
    deltas = write(answer, encode(" the"))
    assert [delta["text"] for delta in deltas] == ["Once", " the"]
    assert answer.value()["text"] == "Once the"
