from __future__ import annotations

import asyncio

import msgspec
import pytest

from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import Delta, Failed, Loading, Result, Started
from onebox.services.usage.meter import TAIL_BYTES, WHOLE_BYTES, Meter
from onebox.services.usage.usage import Amounts
from tests.support.clock import Clock
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import Kitchen, ended_with, sent


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return Meter(clock)


def seen(meter, clock, *events):
    """A second goes by between two of them."""
    for event in events:
        meter.observe(event)
        clock.now += 1


def json_artifact(**value):
    return Artifact("application/json", msgspec.json.encode(value))


def made(meter, *artifacts, counted_s=0.0):
    meter.made(artifacts, counted_s=counted_s)
    return meter.amounts(ok=True)


def test_a_request_that_ended_well_counts_what_its_worker_measured(meter, clock):
    seen(meter, clock, Started("w"), Result("w", (), Timing(load_s=9, run_s=0.25)))
    assert meter.amounts(ok=True) == Amounts(requests=1, device_seconds=0.25)


def test_one_that_failed_counts_what_ran_and_nothing_else(meter, clock):
    seen(meter, clock, Started("w"))
    clock.now += 3
    seen(meter, clock, Failed("w", "worker_lost", "gone"))
    assert meter.amounts(ok=False) == Amounts(device_seconds=4)


def test_one_that_was_refused_in_the_queue_took_nothing(meter, clock):
    seen(meter, clock, Loading("w", 0.5), Failed("w", "queue_full", "full"))
    assert meter.amounts(ok=False) == Amounts()


def test_one_whose_client_left_counts_until_it_was_cancelled(meter, clock):
    texts = [Delta("w", {"content": "a"}), Delta("w", {"index": 0}), Delta("w", {"content": "b"})]
    seen(meter, clock, Started("w"), *texts)
    assert meter.amounts(ok=False) == Amounts(completion_tokens=2, device_seconds=4)


def test_loading_is_nobodys_cost(meter, clock):
    seen(meter, clock, Loading("w", 0.1), Loading("w", 1.0), Started("w"))
    seen(meter, clock, Loading("w", 0.2), Loading("w", 0.9), Loading("w", 1.0))
    assert meter.amounts(ok=False).device_seconds == 2


def test_all_parts_of_a_request_count(meter, clock):
    seen(meter, clock, Started("a"), Result("a", (), Timing(run_s=2)))
    seen(meter, clock, Started("b"), Failed("b", "deadline_exceeded", "late"))
    assert meter.amounts(ok=False).device_seconds == 3


def test_tokens_of_a_text_are_those_of_its_result(meter):
    meter.wrote({"prompt": 30, "cached": 16, "completion": 4})
    assert meter.amounts(ok=True) == Amounts(
        requests=1, prompt_tokens=30, cached_tokens=16, completion_tokens=4
    )


def test_pictures_are_counted_and_stills_of_a_video_are_not(meter):
    video = Artifact("video/mp4", b"", None, {"variant": "video", "seconds": 2.5})
    still = Artifact("image/webp", b"", None, {"variant": "thumbnail", "seconds": 2.5})
    picture = Artifact("image/png", b"", None, {"seed": 1})
    amounts = made(meter, video, still, picture, picture)
    assert (amounts.pictures, amounts.video_seconds) == (2, 2.5)


def test_sound_counts_as_long_as_it_is(meter):
    spoken = Artifact("audio/wav", b"", None, {"duration": 1.5})
    assert made(meter, spoken).audio_seconds == 1.5
    assert made(meter, json_artifact(text="hello", duration=3.25)).audio_seconds == 3.25


def test_sound_that_a_live_session_listens_to_again_is_counted_once(meter):
    heard = json_artifact(text="hello", duration=5.0)
    assert made(meter, heard, counted_s=4.0).audio_seconds == 1.0
    assert made(meter, heard, counted_s=6.0).audio_seconds == 0.0


def test_embeddings_tell_what_they_read(meter):
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    assert made(meter, json_artifact(data=[], usage=usage)).prompt_tokens == 12


def test_of_a_long_result_the_end_is_enough(meter):
    numbers = b"1," * WHOLE_BYTES + b"1"
    data = b'{"data":[%b],"usage":{"prompt_tokens":7,"total_tokens":7}}' % numbers
    assert made(meter, Artifact("application/json", data)).prompt_tokens == 7


def test_what_a_client_wrote_is_not_taken_for_the_count(meter):
    written = '{"usage":{"prompt_tokens":-5}}' + "x" * WHOLE_BYTES + '"usage":{"prompt_tokens":-5}}'
    assert len(written) > WHOLE_BYTES > TAIL_BYTES
    assert made(meter, json_artifact(echo=written)).prompt_tokens == 0


@pytest.mark.parametrize("data", [b"[1]", b"{", b'{"usage": "much"}', b'{"duration": "long"}', b""])
def test_results_of_other_forms_count_as_requests_only(meter, data):
    assert made(meter, Artifact("application/json", data)) == Amounts(requests=1)


class Book:
    """In place of the ledger."""

    def __init__(self):
        self.rows = []

    def ended(self, prepared, running, status):
        self.rows.append((prepared.options.client_id, status, running.meter))


def kitchen_with_book(folder):
    kitchen, book = Kitchen(folder), Book()
    kitchen.inference._ledger = book
    return kitchen, book


def test_a_request_ends_in_the_ledger_once_with_what_it_took(tmp_path):
    kitchen, book = kitchen_with_book(tmp_path)
    picture = Artifact("image/png", b"png")

    async def scene():
        await ended_with(kitchen, Started("wire-1"), Result("wire-1", (picture,), Timing(run_s=2)))

    run(scene())
    ((name, status, meter),) = book.rows
    assert (name, status) == ("1", "ok")
    assert meter.amounts(ok=True) == Amounts(requests=1, pictures=1, device_seconds=2)


def test_a_request_whose_client_leaves_ends_in_the_ledger(tmp_path):
    kitchen, book = kitchen_with_book(tmp_path)

    async def scene():
        (task,) = await sent(kitchen, kitchen.prepared())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scene())
    assert [(name, status) for name, status, _ in book.rows] == [("1", "cancelled")]
