from __future__ import annotations

import numpy as np
import pytest

from onebox.audio.synthesis.piecework import SpeechWork, Wanted
from onebox.audio.synthesis.text.frontend import Sentence
from onebox.core.errors import InvalidInput

RATE = 100


class Context:
    def __init__(self):
        self.parts = []
        self.steps = []

    def part(self, output):
        self.parts.append(output)

    def step(self, step, steps):
        self.steps.append((step, steps))


def work_of(*texts, stream=False, speed=1.0, seed=7, pause_s=0.1):
    wanted = Wanted("joe", speed, seed, "wav", RATE, stream)
    work = SpeechWork([Sentence(text, pause_s) for text in texts], wanted)
    context = Context()
    work.start(context, lambda: None)
    return work, context


def sound(piece, length=10):
    """Recognisable samples: all of them the sentence's number, counted from 1."""
    return np.full(length, piece.value.index + 1, np.float32)


def speak(work, order):
    pieces = list(work.ready(16))
    for index in order:
        work.accept(pieces[index], sound(pieces[index]))


def test_the_first_sentence_is_offered_first_and_until_it_is_spoken():
    work, _ = work_of("one", "two", "three")
    assert [piece.value.say.text for piece in work.ready(2)] == ["one", "two"]
    first, *_ = work.ready(1)
    work.accept(first, sound(first))
    assert [piece.value.say.text for piece in work.ready(5)] == ["two", "three"]
    assert not work.done


def test_each_sentence_has_a_seed_of_its_own_that_wraps():
    work, _ = work_of("one", "two", "three", seed=2**32 - 2)
    assert [piece.value.say.seed for piece in work.ready(9)] == [2**32 - 2, 2**32 - 1, 0]


def test_the_sound_is_in_the_order_of_the_text_with_silence_between():
    work, context = work_of("one", "two")
    speak(work, [1, 0])
    assert work.done
    (output,) = work.outputs()
    assert output.kind == "audio"
    assert output.value.dtype == np.float32
    assert output.value.tolist() == [1.0] * 10 + [0.0] * 10 + [2.0] * 10
    assert output.options == {"format": "wav", "sampling_rate": RATE}
    assert output.meta == {"seed": 7, "duration": 0.3, "sampling_rate": RATE}
    assert context.parts == []


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_streamed_text_goes_out_in_its_order(order):
    work, context = work_of("one", "two", "three", stream=True)
    speak(work, order)
    assert [part.value[0] for part in context.parts] == [1, 2, 3]
    assert [len(part.value) for part in context.parts] == [20, 20, 10]
    assert context.steps == [(1, 3), (2, 3), (3, 3)]
    (output,) = work.outputs()
    assert output.kind == "json"
    assert output.value == {
        "seed": 7,
        "duration": 0.5,
        "usage": {"input_tokens": 11, "output_tokens": 0, "total_tokens": 11},
    }


def test_the_first_sentence_goes_out_while_others_are_still_to_come():
    work, context = work_of("one", "two", stream=True)
    (first,) = work.ready(1)
    work.accept(first, sound(first))
    assert len(context.parts) == 1
    assert not work.done


def test_who_speaks_faster_pauses_shorter():
    work, _ = work_of("one", "two", speed=2.0)
    speak(work, [0, 1])
    (output,) = work.outputs()
    assert len(output.value) == 25


def test_a_text_that_is_endless_when_read_out_is_refused_with_both_numbers():
    work_of("a" * 32_768)
    work_of("a" * 8_192, speed=0.25)
    for text, speed in (("a" * 32_769, 1.0), ("a" * 8_193, 0.25)):
        with pytest.raises(InvalidInput, match="send it in parts") as caught:
            work_of(text, speed=speed)
        symbols, most = caught.value.details.values()
        assert (symbols, most) == (len(text), len(text) - 1)
