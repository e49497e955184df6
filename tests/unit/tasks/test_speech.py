from __future__ import annotations

import pytest
from pydantic import ValidationError

from onebox.core.contracts import Device, Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.tasks.speech import Speech, SpeechInput

VOICES = [
    {"id": "p1", "name": "Anna", "language": "en"},
    {"id": "p2", "name": "Ben", "language": "en"},
    {"id": "nova", "name": "Nova", "language": "de"},
]
FACTS = {
    "sampling_rate": 16_000,
    "voices": VOICES,
    "language": "en",
    "phonemes": None,
    "symbols": None,
}
CPU = Device("cpu", "cpu", "cpu", "cpu", "host", 2**33, 2**33, "float32", "float32")


def entry_of(voices=VOICES):
    facts = {**FACTS, "voices": voices}
    return Entry("k", "tiny-voice", "/tiny", "", 0, "ready", facts=facts)


def prepared(text="Hello there. How are you?", **fields):
    task, entry = Speech(), entry_of()
    request = task.resolve(SpeechInput(input=text, **fields), entry, TaskDefaults(1, 1.0))
    task.check(request, entry)
    return task.prepare(request, entry, None)


def says(**fields):
    return [piece.value.say for piece in prepared(**fields).ready(16)]


@pytest.mark.parametrize(
    ("asked", "voice"),
    [("default", "p1"), ("alloy", "p1"), ("marin", "p1"), ("p2", "p2"), ("Ben", "p2")],
)
def test_a_voice_goes_by_its_id_its_name_or_a_name_that_means_the_first(asked, voice):
    assert {say.voice for say in says(voice=asked)} == {voice}


def test_a_voice_that_is_called_like_one_of_openais_is_itself():
    assert {say.voice for say in says(voice="nova")} == {"nova"}


def test_the_text_is_read_in_the_language_of_the_voice():
    assert says(text="5 Tage", voice="nova")[0].text == "fünf Tage."


def test_a_voice_that_is_not_there_is_refused_with_some_that_are():
    entry = entry_of([{"id": f"v{i}", "name": f"v{i}", "language": "en"} for i in range(50)])
    with pytest.raises(InvalidInput, match="no voice 'zoe'") as caught:
        Speech().check(SpeechInput(input="Hi", voice="zoe"), entry)
    assert caught.value.param == "voice"
    assert caught.value.details["voices"] == [f"v{i}" for i in range(20)]


def test_a_seed_is_chosen_where_none_is_given():
    task, entry = Speech(), entry_of()
    defaults = TaskDefaults(1, 1.0)
    assert task.resolve(SpeechInput(input="Hi", seed=0), entry, defaults).seed == 0
    assert task.resolve(SpeechInput(input="Hi"), entry, defaults).seed is not None


def test_equal_requests_ask_the_model_for_the_same():
    first, second = says(seed=5, speed=1.5), says(seed=5, speed=1.5)
    assert [(say.text, say.seed, say.speed) for say in first] == [
        ("Hello there.", 5, 1.5),
        ("How are you?", 6, 1.5),
    ]
    assert [(say.text, say.seed) for say in second] == [(say.text, say.seed) for say in first]


def test_one_sentence_is_spoken_at_a_time():
    pieces = prepared().ready(16)
    assert Speech().choose(pieces, entry_of(), CPU) == [pieces[0]]


def test_nothing_to_say_is_refused():
    with pytest.raises(InvalidInput, match="nothing to say"):
        prepared(text="... 😀 !")


def test_a_whole_file_reserves_room_for_its_sound():
    task, entry = Speech(), entry_of()
    short, long = SpeechInput(input="x"), SpeechInput(input="x" * 4096)
    streamed = SpeechInput(input="x" * 4096, stream=True)
    assert task.reserve_bytes(long, entry, CPU) > task.reserve_bytes(short, entry, CPU)
    assert task.reserve_bytes(streamed, entry, CPU) <= task.reserve_bytes(short, entry, CPU)
    assert task.size_class(short) != task.size_class(long) != task.size_class(streamed)


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": "x" * 4097},
        {"speed": 0.2},
        {"speed": 4.1},
        {"speed": float("nan")},
        {"seed": -1},
        {"seed": 2**32},
        {"response_format": "ogg"},
        {"voice": ""},
    ],
)
def test_values_out_of_bounds_are_refused(fields):
    with pytest.raises(ValidationError):
        SpeechInput(**{"input": "Hi", **fields})
