"""Brackets in prompts."""

from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.prompt_weights import (
    Part,
    is_plain,
    plain_sentence,
    read_weights,
)


def read(prompt: str) -> list[tuple[str, float]]:
    return [(part.text, round(part.weight, 4)) for part in read_weights(prompt)]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a red circle", [("a red circle", 1.0)]),
        ("", []),
        ("a (red) circle", [("a ", 1.0), ("red", 1.1), (" circle", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("a [red] circle", [("a ", 1.0), ("red", 0.9091), (" circle", 1.0)]),
        ("(red:1.3) circle", [("red", 1.3), (" circle", 1.0)]),
        ("(red: 0.5)", [("red", 0.5)]),
        ("(red:.5)", [("red", 0.5)]),
        ("(red:-1)", [("red", -1.0)]),
        ("(red (round:2) thing:1.5)", [("red ", 1.5), ("round", 3.0), (" thing", 1.5)]),
        ("[(red:2)]", [("red", 1.8182)]),
        ("([red])", [("red", 1.0)]),
        (r"a \(red\) circle", [("a (red) circle", 1.0)]),
        (r"(\(red\):1.5)", [("(red)", 1.5)]),
        (r"a \\ b", [(r"a \ b", 1.0)]),
        (r"a\b", [(r"a\b", 1.0)]),
        ("the end)", [("the end)", 1.0)]),
        ("ratio 4:3) of", [("ratio 4:3) of", 1.0)]),
        ("(never closed", [("never closed", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.0), (" c", 0.9091)]),
        ("12:30", [("12:30", 1.0)]),
        ("()", []),
    ],
)
def test_brackets_weigh_what_they_hold(prompt: str, parts: list[tuple[str, float]]) -> None:
    assert read(prompt) == parts


def test_break_begins_a_new_stretch() -> None:
    assert read_weights("a circle BREAK (a square:2)") == (
        Part("a circle ", 1.0, 0),
        Part(" ", 1.0, 1),
        Part("a square", 2.0, 1),
    )
    assert [part.text for part in read_weights("BREAKFAST break")] == ["BREAKFAST break"]


def test_only_what_has_no_brackets_is_plain() -> None:
    assert is_plain("a red circle, 12:30, it's 50% \\ more")
    for prompt in ("a (red) circle", "[red]", r"\(red\)", "a BREAK b", "a)"):
        assert not is_plain(prompt)


@pytest.mark.parametrize("prompt", ["(red:11)", "(red:-10.5)", "(" * 30 + "red", "((red:5):5)"])
def test_a_weight_beyond_ten_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidInput, match="the most is 10") as refused:
        read_weights(prompt, "negative_prompt")
    assert refused.value.param == "negative_prompt"


def test_for_a_model_that_reads_sentences_brackets_are_brackets() -> None:
    assert plain_sentence("a (red) [circle]", "FluxPipeline") == "a (red) [circle]"
    assert plain_sentence(r"a \(red:1.3\) circle", "FluxPipeline") == "a (red:1.3) circle"


def test_a_model_that_reads_sentences_takes_no_weights() -> None:
    with pytest.raises(InvalidInput, match=r"FluxPipeline .* takes no weights such as '\(red:1.3"):
        plain_sentence("a (red:1.3) circle", "FluxPipeline")
