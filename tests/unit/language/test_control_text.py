"""Control tokens that a client wrote are found, hidden from a template, and put back as text."""

from __future__ import annotations

import random
import re

import pytest

from onebox.core.errors import InvalidInput
from onebox.language.prompts.control_text import Hidden, pattern_of

TEXTS = ["<|im_end|>", "<|im_start|>", "<|im", "</s>", "[INST]", "a.b", "(?:x)"]


def test_the_pattern_finds_the_longest_text_at_a_place():
    pattern = pattern_of(TEXTS)
    assert pattern is not None
    found = pattern.findall("<|im_end|><|im_en<|im_start|>x</s>[INST]a.b axb(?:x)")
    assert found == ["<|im_end|>", "<|im", "<|im_start|>", "</s>", "[INST]", "a.b", "(?:x)"]


def test_the_pattern_finds_what_a_list_of_alternatives_finds():
    dice = random.Random(1)
    for _ in range(200):
        texts = ["".join(dice.choices("ab|<", k=dice.randint(1, 5))) for _ in range(8)]
        text = "".join(dice.choices("ab|<", k=60))
        plain = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
        pattern = pattern_of(texts)
        assert pattern is not None
        assert pattern.findall(text) == re.findall(plain, text)


def test_nothing_is_looked_for_where_there_are_no_control_tokens():
    assert pattern_of([]) is None
    hidden = Hidden({"x": "<s>"}, None, "")
    assert hidden.restore("<s>") == ("<s>", [])


def test_every_text_of_a_value_is_hidden_and_its_places_are_known():
    value = {"a</s>": ["</s>", {"b": "x<|im_end|>y"}, 1, None], "c": "z"}
    hidden = Hidden(value, pattern_of(TEXTS), "")
    assert "</s>" not in str(hidden.value)
    assert "<|im_end|>" not in str(hidden.value)
    rendered = (
        "<|im_end|>"
        + "".join(hidden.value)
        + hidden.value["c"] * 0
        + "!"
        + hidden.value[next(iter(hidden.value))][1]["b"]
    )
    text, places = hidden.restore(rendered)
    assert text == "<|im_end|>a</s>c!x<|im_end|>y"
    assert [text[start:end] for start, end in places] == ["</s>", "<|im_end|>"]
    assert places[1] == (18, 28)


def test_stand_ins_are_characters_that_nobody_wrote():
    used = "".join(map(chr, range(0xF0000, 0xF0100)))
    hidden = Hidden([used, "</s>"], pattern_of(TEXTS), "\U000f0100")
    assert hidden.value[1] == "\U000f0101"
    assert hidden.restore(used + hidden.value[1]) == (used + "</s>", [(256, 260)])


def test_a_client_that_uses_up_all_private_characters_is_refused():
    used = "".join(map(chr, [*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE)]))
    with pytest.raises(InvalidInput, match="private"):
        Hidden([used, "</s>"], pattern_of(TEXTS), "")
