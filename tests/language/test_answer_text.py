"""The text of answers from tokenizers of every kind equals what they decode themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from onebox.core.decoding import Token
from onebox.language.answers.answer import Answer
from onebox.language.answers.detokenizer import Detokenizer, kept_tokens
from onebox.language.prompts.text_tokenizer import TextTokenizer
from tests.language.small_tokenizers import SPECIAL, byte_level, sentencepiece, text_tokenizer

ROUNDS = 300


def metaspace() -> Any:
    """As T5 and the first Llamas were converted: the decoder itself drops the first space."""
    from tokenizers import decoders

    backend = sentencepiece()
    backend.decoder = decoders.Metaspace()
    return backend


def joined(tokenizer: TextTokenizer, ids: list[int], **options: Any) -> str:
    detokenizer = Detokenizer(tokenizer, **options)
    return "".join([*map(detokenizer.add, ids), detokenizer.finish()])


@pytest.mark.parametrize("make", [byte_level, metaspace])
def test_random_tokens_join_to_what_decode_gives(make):
    tokenizer = text_tokenizer(make())
    rng = random.Random(8)
    faults = 0
    for _ in range(ROUNDS):
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(1, 40))]
        expected = tokenizer.decode(ids)
        assert joined(tokenizer, ids) == expected, ids
        faults += "\ufffd" in expected
    assert make is metaspace or faults > ROUNDS // 2


def test_random_tokens_of_sentencepiece_join_to_what_decode_gives():
    tokenizer = text_tokenizer(sentencepiece())
    rng = random.Random(9)
    first = len(SPECIAL)
    after = first + 256
    faults = 0
    for _ in range(ROUNDS):
        ids = []
        for _ in range(rng.randrange(1, 12)):
            # Each run of single bytes is whole characters, or wrong from its first on.
            data = rng.choice("€🙂ß").encode()
            run = data if rng.random() < 0.5 else data[: rng.randrange(1, len(data))]
            ids += [first + byte for byte in run]
            ids += [rng.randrange(after, tokenizer.vocab_size) for _ in range(rng.randrange(1, 3))]
        expected = tokenizer.decode(ids)
        assert joined(tokenizer, ids) == expected, ids
        faults += "\ufffd" in expected
    assert faults > ROUNDS // 4


@pytest.mark.parametrize("make", [byte_level, sentencepiece, metaspace])
def test_what_was_encoded_comes_back(make):
    tokenizer = text_tokenizer(make())
    text = "The quick brown fox: é, hello  the end!"
    assert joined(tokenizer, tokenizer.encode(text, special=False)) == text


@pytest.mark.parametrize("make", [sentencepiece, metaspace])
def test_a_text_that_goes_on_keeps_its_space(make):
    tokenizer = text_tokenizer(make())
    ids = tokenizer.encode("the", special=False)
    assert joined(tokenizer, ids, strip=False) == " the"
    assert joined(tokenizer, ids) == "the"


def test_special_tokens_are_kept_by_name():
    tokenizer = text_tokenizer(byte_level())
    kept = kept_tokens(tokenizer, ["<|eot_id|>", "<tool_call>", "[MISSING]"])
    assert list(kept.values()) == [b"<|eot_id|>"]
    ids = tokenizer.encode("Hello<|eot_id|><|im_end|><tool_call>", special=False)
    assert joined(tokenizer, ids) == "Hello<tool_call>"
    assert joined(tokenizer, ids, kept=kept) == "Hello<|eot_id|><tool_call>"


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_stop_strings_cut_the_decoded_text_at_their_first_place(make):
    tokenizer = text_tokenizer(make())
    rng = random.Random(10)
    cut = 0
    for _ in range(ROUNDS):
        words = rng.choices(["the", " end", " quick", "é", "🙂", " lazy dog", "\n"], k=12)
        stop = rng.choice(["e q", "🙂é", "d\n", "lazy", "endend"])
        ids = tokenizer.encode("".join(words), special=False)
        answer = Answer(tokenizer, stops=[stop], logprobs=True)
        is_cut = any(answer.add(Token(id_, -1.0)) for id_ in ids)
        answer.finish(cut=is_cut)
        value = answer.value()
        assert value["text"] == tokenizer.decode(ids).partition(stop)[0]
        told = b"".join(bytes(entry["bytes"]) for entry in value["logprobs"])
        assert value["text"].lstrip(" ").encode().startswith(told.lstrip(b" "))
        cut += is_cut
    assert cut > ROUNDS // 5
