from __future__ import annotations

import random

from onebox.language.answers.stop_strings import StopStrings


def run(stops, pieces):
    """What is let through, piece by piece, and what comes after a stop string."""
    finder = StopStrings(stops)
    free = []
    for piece in pieces:
        text, rest = finder.feed(piece)
        free.append(text)
        if rest is not None:
            return free, rest
    return [*free, finder.finish()], None


def cut(stops, text):
    """The same by looking at every end of the text."""
    for end in range(1, len(text) + 1):
        ended = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(ended)]
    return text


def random_pieces(rng, text):
    pieces, start = [], 0
    while start < len(text):
        end = start + rng.randrange(1, 5)
        pieces.append(text[start:end])
        start = end
    return pieces


def test_how_a_text_is_cut_into_pieces_makes_no_difference():
    rng = random.Random(3)
    found = 0
    for _ in range(2000):
        stops = [
            "".join(rng.choices("abé", k=rng.randrange(1, 6))) for _ in range(rng.randrange(5))
        ]
        text = "".join(rng.choices("abéc", k=rng.randrange(40)))
        free, rest = run(stops, random_pieces(rng, text))
        assert "".join(free) == cut(stops, text), (stops, text)
        found += rest is not None
    assert found > 500


def test_nothing_is_let_through_that_a_stop_string_could_still_claim():
    rng = random.Random(4)
    for _ in range(500):
        stops = ["".join(rng.choices("ab", k=rng.randrange(1, 6))) for _ in range(3)]
        finder, sent = StopStrings(stops), ""
        for char in rng.choices("ab", k=30):
            text, rest = finder.feed(char)
            sent += text
            for stop in stops:
                assert stop not in sent
            if rest is not None:
                break


def test_text_that_begins_no_stop_string_is_not_held_back():
    free, _ = run(["END"], ["some", " text", " E", "very"])
    assert free == ["some", " text", " ", "Every", ""]


def test_a_stop_string_across_pieces_is_found_and_left_out():
    assert run(["<stop>"], ["a <s", "to", "p> b"]) == (["a ", "", ""], " b")


def test_what_was_held_back_comes_when_the_text_ends():
    assert run(["END"], ["the EN"]) == (["the ", "EN"], None)


def test_the_stop_string_that_is_complete_first_wins():
    assert run(["bcde", "cd"], ["abcde"]) == (["ab"], "e")


def test_of_those_that_end_together_the_longest_wins():
    assert run(["cd", "abcd"], ["xabcd"]) == (["x"], "")


def test_without_stop_strings_everything_passes_at_once():
    assert run([], ["a", "b"]) == (["a", "b", ""], None)


def test_a_stop_string_that_overlaps_itself_is_found():
    assert run(["aab"], ["aaab"]) == (["a"], "")
