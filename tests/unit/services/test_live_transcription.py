"""Sessions over a model that hears what a test scripts."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from onebox.core.errors import ConcurrencyLimited, InvalidInput, QueueFull, WorkerLost
from onebox.services.live_transcription import FULL, MAX_COMMITS, MAX_REFUSALS, MOST
from tests.unit.api.asking import in_loop
from tests.unit.services.listening import (
    RATE,
    SILENCE,
    Ears,
    kinds,
    said,
    seconds,
    session,
    settle,
    talk,
)


@in_loop
async def test_what_may_change_is_partial_and_a_pause_makes_it_final():
    script = {
        1.0: said((0.2, 1.0, "One")),
        2.0: said((0.2, 1.8, "One two.")),
        3.0: said((0.2, 1.8, "One two.")),
    }
    told = await talk(Ears(lambda s: script.get(s, SILENCE)), *[seconds(1)] * 3)
    assert kinds(told) == ["partial", "partial", "final", "committed"]
    assert [message.get("text") for message in told[:3]] == ["One", "One two.", "One two."]
    assert told[2] == {
        "type": "transcript.final",
        "text": "One two.",
        "start": 0.2,
        "end": 1.8,
        "language": "en",
        "segments": [{"start": 0.2, "end": 1.8, "text": "One two."}],
    }


@in_loop
async def test_the_next_phrase_has_its_own_times_and_what_was_final_is_not_heard_again():
    ears = Ears(lambda s: said((0.1, 1.0, "A.")) if s == 2.0 else said((0.5, 0.9, "B.")))
    told = await talk(ears, seconds(2, 1), seconds(1, 2))
    finals = [message for message in told if message["type"] == "transcript.final"]
    assert [(m["text"], m["start"], m["end"]) for m in finals] == [
        ("A.", 0.1, 1.0),
        ("B.", 2.0, 2.4),
    ]
    # Half a second of the pause is kept, and all that came after it.
    assert ears.inputs[1].file.data == seconds(0.5, 1) + seconds(1, 2)


@in_loop
async def test_times_never_go_back():
    ears = Ears(
        lambda s: said((0.0, 1.6, "A."), speech_end=1.0) if s == 2.5 else said((0.0, 0.1, "B."))
    )
    told = await talk(ears, seconds(2.5), seconds(1))
    times = [t for m in told if "start" in m for t in (m["start"], m["end"])]
    assert times == sorted(times)


@in_loop
async def test_silence_says_nothing_and_is_not_kept():
    ears = Ears(lambda s: SILENCE)
    told = await talk(ears, *[seconds(1)] * 50)
    assert kinds(told) == ["committed"]
    assert max(ears.lengths) == 1.5


@in_loop
async def test_a_partial_that_was_nothing_is_taken_back():
    ears = Ears(lambda s: said((0.1, 0.9, "Uh")) if s == 1.0 else SILENCE)
    told = await talk(ears, seconds(1), seconds(1))
    assert [m["text"] for m in told if m["type"] == "transcript.partial"] == ["Uh", ""]


@in_loop
async def test_equal_partials_are_told_once_and_none_at_all_where_nobody_wants_them():
    def hears(length_s: float) -> dict[str, Any]:
        return said((0.1, length_s, "Uh"))

    assert kinds(await talk(Ears(hears), *[seconds(1)] * 4)) == ["partial", "final", "committed"]
    told = await talk(Ears(hears), *[seconds(1)] * 4, partials=False)
    assert kinds(told) == ["final", "committed"]


@in_loop
async def test_it_listens_once_a_second_of_sound_and_never_twice_at_once():
    ears = Ears(lambda s: said((0.0, s, "Uh")))
    ears.open.clear()
    live, _ = session(ears)
    running = asyncio.ensure_future(live.run())
    for _ in range(40):
        await live.feed(seconds(0.1))
        await settle()
    assert ears.lengths == [1.0]
    ears.open.set()
    await settle()
    assert ears.lengths == [1.0, 4.0]
    live.finish()
    await running
    assert ears.most_at_once == 1


@in_loop
async def test_speech_without_a_pause_becomes_final_bit_by_bit():
    def hears(length_s: float) -> dict[str, Any]:
        return said((0.0, length_s / 2, "A"), (length_s / 2, length_s, "B"))

    ears = Ears(hears)
    told = await talk(ears, *[seconds(1)] * 60, partials=False)
    assert max(ears.lengths) <= MOST / RATE
    finals = [m for m in told if m["type"] == "transcript.final"]
    assert len(finals) > 3
    segments = [part for final in finals for part in final["segments"]]
    assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(segments))
    assert segments[-1]["end"] == 60.0


@in_loop
async def test_a_commit_makes_final_what_came_before_it():
    ears = Ears(lambda s: said((0.0, s, f"{s}")))
    live, told = session(ears)
    running = asyncio.ensure_future(live.run())
    await live.feed(seconds(0.5))
    live.commit()
    await live.feed(seconds(0.25))
    live.commit()
    live.finish()
    await running
    assert ears.lengths == [0.5, 0.25]
    assert [(m["type"][11:], m["end"]) for m in told] == [
        ("final", 0.5),
        ("committed", 0.5),
        ("final", 0.75),
        ("committed", 0.75),
        ("committed", 0.75),
    ]


@in_loop
async def test_a_commit_of_more_than_a_model_hears_at_once():
    ears = Ears(lambda s: said((0.0, s, "A")))
    live, told = session(ears)
    await live.feed(seconds(40))
    live.finish()
    await live.run()
    assert ears.lengths == [MOST / RATE, 40 - MOST / RATE]
    assert kinds(told) == ["final", "final", "committed"]


@in_loop
async def test_too_many_commits_at_once_are_refused():
    live, _ = session(Ears(lambda s: SILENCE))
    for _ in range(MAX_COMMITS):
        live.commit()
    with pytest.raises(InvalidInput):
        live.commit()


@in_loop
async def test_who_sends_too_fast_waits():
    ears = Ears(lambda s: said((0.0, s, "A")))
    ears.open.clear()
    live, _ = session(ears)
    running = asyncio.ensure_future(live.run())
    await live.feed(bytes(2 * FULL))
    waiting = asyncio.ensure_future(live.feed(seconds(1)))
    await settle()
    assert not waiting.done()
    ears.open.set()
    await waiting
    live.finish()
    await running


@in_loop
async def test_sound_after_the_end_is_not_heard():
    ears = Ears(lambda s: SILENCE)
    live, _ = session(ears)
    live.finish()
    await live.feed(seconds(5))
    await live.run()
    assert (ears.inputs, live.seconds) == ([], 0)


@in_loop
async def test_a_full_queue_is_sat_out():
    answers = iter([QueueFull("full"), ConcurrencyLimited("too many")])
    ears = Ears(lambda s: next(answers, said((0.0, s, "A"))))
    told = await talk(ears, *[seconds(1)] * 3, partials=False)
    assert kinds(told) == ["final", "committed"]
    assert ears.lengths == [1.0, 2.0, 3.0, 3.0]


@in_loop
async def test_a_full_queue_is_not_sat_out_for_ever():
    with pytest.raises(QueueFull):
        await talk(Ears(lambda s: QueueFull("full")), *[seconds(1)] * (MAX_REFUSALS + 1))
    with pytest.raises(QueueFull):
        await talk(Ears(lambda s: QueueFull("full")), seconds(0.5))


@in_loop
async def test_any_other_error_ends_it():
    live, _ = session(Ears(lambda s: WorkerLost("gone")))
    await live.feed(seconds(1))
    with pytest.raises(WorkerLost):
        await live.run()


@in_loop
async def test_its_end_cancels_what_runs():
    ears = Ears(lambda s: SILENCE)
    ears.open.clear()
    live, _ = session(ears)
    running = asyncio.ensure_future(live.run())
    await live.feed(seconds(1))
    await settle()
    running.cancel()
    await asyncio.wait({running})
    assert ears.cancelled == 1


@in_loop
async def test_what_the_client_said_is_in_every_request():
    ears = Ears(lambda s: SILENCE)
    options = {"model": "w", "language": "de", "prompt": "Hm", "temperature": 0.5}
    await talk(ears, seconds(1), seconds(1), priority="job", **options)
    for given in ears.inputs:
        assert (given.language, given.prompt, given.temperature) == ("de", "Hm", 0.5)
        assert given.file.media_type == "audio/pcm"
    assert {(o.priority, o.client_id) for o in ears.options} == {("job", ears.options[0].client_id)}


@in_loop
async def test_what_a_model_cannot_do_is_known_before_the_first_sound():
    def check() -> None:
        raise InvalidInput("it knows English alone", param="language")

    ears = Ears(lambda s: SILENCE)
    live, _ = session(ears, language="de")
    prepared = await live.open()
    prepared.check = check
    ears.prepare = lambda *args, **options: asyncio.sleep(0, prepared)
    with pytest.raises(InvalidInput):
        await live.open()
