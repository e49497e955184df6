from __future__ import annotations

import random

import pytest

from onebox.language.answers.reasoning import Reasoning


def part(pieces, opened=False):
    reasoning = Reasoning(opened=opened)
    parted = [*map(reasoning.feed, pieces), reasoning.finish()]
    thoughts, answers = zip(*parted, strict=True)
    return "".join(thoughts), "".join(answers), reasoning


@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes.", False, "hm\n", "Yes."),
        ("hm</think>Yes. </think>", True, "hm", "Yes. </think>"),
        ("\n hm</think>\nYes.\n", True, "hm", "Yes.\n"),
        ("  Yes. <think>no</think>", False, "", "  Yes. <think>no</think>"),
        ("<thin", False, "", "<thin"),
        ("<think>cut off </thi", False, "cut off </thi", ""),
        ("<think></think>", False, "", ""),
        ("<think>\n\n</think>\n\nYes.", False, "", "Yes."),
        ("", False, "", ""),
        ("  ", False, "", "  "),
    ],
)
def test_thoughts_and_answer_are_parted_however_the_text_is_cut(text, opened, thought, answer):
    rng = random.Random(5)
    for _ in range(30):
        cuts = sorted(rng.choices(range(len(text) + 1), k=4))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert part(pieces, opened)[:2] == (thought, answer), pieces


def test_it_knows_where_the_answer_begins():
    text = "<think>hm</think>\n\nYes."
    *_, reasoning = part(text)
    assert text[reasoning.skipped :] == "Yes."
    assert part("Yes.")[2].skipped == 0
    assert part("<think>hm")[2].skipped is None


def test_thoughts_come_as_they_are_written():
    reasoning = Reasoning(opened=True)
    assert reasoning.feed("one two") == ("one two", "")
    assert not reasoning.is_over
    assert reasoning.feed(" three</think>") == (" three", "")
    assert reasoning.is_over
