"""What grammars let through: every answer that a dice can write is what was asked for."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import jsonschema
import pytest
import torch

from onebox.core.errors import InferenceFailed, InvalidInput, TaskNotSupported
from onebox.language.grammars.grammar import MAX_GRAMMARS, MAX_TEXT, Grammars
from tests.support.grammar_walks import allowed, follow, random_walk
from tests.support.random_schemas import RandomSchemas
from tests.support.tiny_tokenizer import TinyTokenizer

NAMED = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}
STRING = {"type": "string"}


@pytest.fixture(scope="module")
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


@pytest.fixture(scope="module")
def grammars(tokenizer: TinyTokenizer) -> Grammars:
    return Grammars(tokenizer)


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def test_answers_to_random_schemas_are_valid(grammars: Grammars, tokenizer: TinyTokenizer) -> None:
    schemas, dice = RandomSchemas(2026), random.Random(1)
    for _ in range(220):
        schema = schemas.next()
        text = random_walk(grammars.json_schema(schema), tokenizer, dice)
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_a_json_object_is_one(grammars: Grammars, tokenizer: TinyTokenizer) -> None:
    dice = random.Random(2)
    for _ in range(10):
        text = random_walk(grammars.json_object(), tokenizer, dice, closing=0.7)
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("schema", "fine", "further"),
    [
        (True, "[[[[[", "["),
        ({"type": "object"}, '{"a": ' * 6, "{"),
        ({"type": "object"}, '{"' + "b" * 64, "b"),
        ({"type": "number"}, "0.000000000", "00"),
        ({"type": "number"}, "1", "e"),
        ({"type": "number"}, "123456789012345", "67"),
        ({"type": "integer"}, "1234567890123456", "7"),
        (an_object(a=STRING), '{"a": ', " "),
        (an_object(a=STRING), '{"a": "x"', " "),
        ({"type": "array", "items": {"type": "null"}}, "[null" + ",null" * 63, ","),
        ({"type": "string", "maxLength": 90}, '"' + "a" * 90, "a"),
        (STRING, '"', "\\u"),
        (STRING, '"', "\n"),
    ],
)
def test_nothing_goes_on_for_ever(
    grammars: Grammars, tokenizer: TinyTokenizer, schema: Any, fine: str, further: str
) -> None:
    assert follow(grammars.json_schema(schema), tokenizer, fine)
    assert follow(grammars.json_schema(schema), tokenizer, fine + further) is None


@pytest.mark.parametrize("text", ['{"name": "Zoë 日本"}', '{"name":"a"}', "{}"])
def test_json_is_taken_as_models_write_it(
    grammars: Grammars, tokenizer: TinyTokenizer, text: str
) -> None:
    matcher = follow(grammars.json_schema(NAMED), tokenizer, text)
    assert matcher
    assert matcher.finished
    assert set(allowed(matcher, tokenizer.vocab_size)) == tokenizer.eos_ids


def test_an_answer_ends_only_where_it_is_whole(
    grammars: Grammars, tokenizer: TinyTokenizer
) -> None:
    whole = follow(grammars.json_schema({"type": "integer"}), tokenizer, "12")
    begun = follow(grammars.json_schema({"type": "integer"}), tokenizer, "-")
    assert whole
    assert begun
    assert not whole.finished
    assert tokenizer.eos_ids <= set(allowed(whole, tokenizer.vocab_size))
    assert not tokenizer.eos_ids & set(allowed(begun, tokenizer.vocab_size))


def test_control_tokens_are_never_part_of_a_string() -> None:
    tokenizer = TinyTokenizer(end_is_text=True)
    matcher = follow(Grammars(tokenizer).json_schema(STRING), tokenizer, '"a')
    assert matcher
    named = {tokenizer.backend.id_to_token(i) for i in allowed(matcher, tokenizer.vocab_size)}
    assert "a" in named
    assert not {"<|im_end|>", "<|im_start|>"} & named


@pytest.mark.parametrize("logits", [100, 256, 352, 400, 1000])
def test_a_model_may_have_more_or_fewer_logits_than_its_tokenizer_has_tokens(
    grammars: Grammars, tokenizer: TinyTokenizer, logits: int
) -> None:
    matcher = grammars.json_schema({"enum": ["a"]}).start()
    width = (logits + 31) // 32 * 32
    expected = [token for token in allowed(matcher, tokenizer.vocab_size) if token < width]
    assert allowed(matcher, logits) == expected != []


def test_a_token_that_was_not_allowed_fails_the_answer(
    grammars: Grammars, tokenizer: TinyTokenizer
) -> None:
    grammar = grammars.json_schema(NAMED)
    matcher = grammar.start()
    with pytest.raises(InferenceFailed, match="token"):
        matcher.accept(tokenizer.encode("x")[0])
    with pytest.raises(InferenceFailed):
        matcher.fill(torch.zeros(1, (tokenizer.vocab_size + 31) // 32, dtype=torch.int32), 0)
    assert follow(grammar, tokenizer, '{"name"')


@pytest.mark.parametrize(
    "pattern",
    ["a^b", "(", "[z-a]", "^(a?){250}a{250}$", "|".join(f".*{c}.*" for c in "abcdefghij")],
)
def test_what_the_library_cannot_follow_is_the_requests_fault(
    grammars: Grammars, tokenizer: TinyTokenizer, pattern: str
) -> None:
    schema = an_object(
        a={"type": "string", "pattern": pattern, "minLength": 200, "maxLength": 3000}
    )
    with pytest.raises(InvalidInput) as caught:
        grammars.json_schema(schema)
    assert caught.value.param == "response_format"
    assert follow(grammars.json_schema(NAMED), tokenizer, '{"name": "a"}')


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a*)*"])
def test_patterns_that_blow_up_others_are_followed(
    grammars: Grammars, tokenizer: TinyTokenizer, pattern: str
) -> None:
    matcher = follow(
        grammars.json_schema({"type": "string", "pattern": pattern}), tokenizer, '"' + "ax" * 300
    )
    assert matcher is None or allowed(matcher, tokenizer.vocab_size)


def test_a_schema_too_deep_for_python_is_refused_and_the_next_one_works(
    grammars: Grammars, tokenizer: TinyTokenizer
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"items": deep}
    with pytest.raises(InvalidInput, match="deeper"):
        grammars.json_schema(deep)
    assert follow(grammars.json_schema(NAMED), tokenizer, '{"name": "a"}')


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    assert grammars.json_schema(NAMED) is grammars.json_schema(dict(NAMED))
    assert grammars.json_schema(NAMED) is not grammars.json_schema({**NAMED, "required": []})


def test_only_so_many_grammars_are_kept(tokenizer: TinyTokenizer) -> None:
    grammars = Grammars(tokenizer)
    first = grammars.json_schema({"const": -1})
    for index in range(MAX_GRAMMARS + 5):
        grammars.json_schema({"const": index})
    assert len(grammars) == MAX_GRAMMARS
    assert grammars.json_schema({"const": -1}) is not first


def test_large_grammars_push_each_other_out(tokenizer: TinyTokenizer) -> None:
    grammars = Grammars(tokenizer)
    size = 0
    for index in range(60):
        values = [f"{index} {number} {'x' * 150}" for number in range(1000)]
        size = max(size, grammars.json_schema({"enum": values}).size)
    assert len(grammars) == MAX_TEXT // size


def test_threads_share_grammars(grammars: Grammars, tokenizer: TinyTokenizer) -> None:
    results: list[str] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for index in range(12):
            grammar = grammars.json_schema({"enum": [f"w{index % 5}", "b"]})
            results.append(json.loads(random_walk(grammar, tokenizer, dice)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 96
    assert set(results) <= {"b", *(f"w{index}" for index in range(5))}


def test_a_tokenizer_that_cannot_be_followed_says_so(tokenizer: TinyTokenizer) -> None:
    class Slow:
        backend = None
        eos_ids = tokenizer.eos_ids

    with pytest.raises(TaskNotSupported):
        Grammars(Slow()).json_object()
