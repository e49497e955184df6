"""What is held of a balance for requests that say how much they ask for."""

from __future__ import annotations

import contextlib
import math

import pytest

from onebox.core.errors import InsufficientCredits, QuotaExceeded
from onebox.services.usage import foresight
from onebox.tasks.chat import ChatInput
from onebox.tasks.completion import CompletionInput
from onebox.tasks.speech import SpeechInput
from onebox.tasks.text_to_image import TextToImageInput
from onebox.tasks.text_to_video import TextToVideoInput
from tests.unit.services.callers import caller
from tests.unit.services.counting import Books, in_loop

INPUTS = {
    "chat": ChatInput,
    "completion": CompletionInput,
    "speech": SpeechInput,
    "text-to-image": TextToImageInput,
    "text-to-video": TextToVideoInput,
}
CHAT = {"messages": [{"role": "user", "content": "x" * 400}]}


def request(task: str, **fields):
    return INPUTS[task].model_validate(fields)


def at_once(books: Books, credits: float, task: str, **fields) -> int:
    """How many of 50 equal requests a caller with these credits gets in."""
    asked, running = request(task, **fields), []

    async def scene() -> None:
        await books.credits.set("key:1", credits)
        for _ in range(50):
            with contextlib.suppress(InsufficientCredits):
                running.append(books.quotas.hold(caller(), task, "smol", asked))

    in_loop(scene())
    return len(running)


@pytest.mark.parametrize(
    ("price", "task", "fields", "expected"),
    [
        ("pictures", "text-to-image", {"prompt": "x", "n": 4}, 3),
        ("device_seconds", "text-to-image", {"prompt": "x", "n": 2, "steps": 2}, 3),
        ("completion_tokens", "chat", {**CHAT, "max_tokens": 2, "n": 2}, 3),
        ("completion_tokens", "completion", {"prompts": ["a", "b"], "max_tokens": 2}, 3),
        ("video_seconds", "text-to-video", {"prompt": "x", "num_frames": 32, "fps": 8}, 3),
        ("video_seconds", "text-to-video", {"prompt": "x", "duration": 6}, 2),
        ("prompt_tokens", "chat", CHAT, 1),
        ("audio_seconds", "speech", {"input": "x" * 45}, 3),
        ("pictures", "text-to-image", {"prompt": "x"}, 12),
        ("completion_tokens", "chat", CHAT, 12),
    ],
)
def test_a_burst_of_first_requests_takes_no_more_than_they_ask_for(
    kit, price, task, fields, expected
):
    assert at_once(Books(kit.database, prices={price: 1.0}), 12, task, **fields) == expected


def test_more_pictures_than_usual_hold_more_and_take_longer(kit):
    books = Books(kit.database, prices={"pictures": 1.0, "device_seconds": 0.5})
    books.record(task="text-to-image", pictures=2, device_seconds=4)
    asked = request("text-to-image", prompt="x", n=6)
    held = books.holds.usual("text-to-image", "smol", asked)
    assert (held.pictures, held.device_seconds, held.credits) == (6, 12, 12)
    assert books.holds.usual("text-to-image", "smol").credits == 4


def test_a_bound_of_tokens_holds_no_more_than_is_usual(kit):
    books = Books(kit.database, prices={"completion_tokens": 1.0})
    books.record(completion_tokens=100)
    few, many = (request("chat", **CHAT, max_tokens=most) for most in (10, 4000))
    assert books.holds.usual("chat", "smol", few).credits == 10
    assert books.holds.usual("chat", "smol", many).credits == 100


def test_quotas_count_what_running_requests_ask_for(kit):
    books, who = Books(kit.database), caller(daily={"pictures": 10})
    asked = request("text-to-image", prompt="x", n=5)
    running = [books.quotas.hold(who, "text-to-image", "smol", asked) for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="what runs or waits now"):
        books.quotas.hold(who, "text-to-image", "smol", asked)
    running.pop().release()
    assert books.quotas.hold(who, "text-to-image", "smol", asked) is not None


def test_what_says_nothing_of_itself_is_one_of_each_unit_of_its_task():
    found = foresight.first_of("transcription", None)
    assert (found.requests, found.audio_seconds, found.device_seconds) == (1, 1, 1)
    assert (found.pictures, found.credits) == (0, 0)


@pytest.mark.parametrize("fields", [{"num_frames": 10**400, "fps": 1}, {"duration": 1e308}])
def test_a_number_that_nobody_can_mean_spoils_no_sums(kit, fields):
    books, who = Books(kit.database), caller(daily={"video_seconds": 1000})
    books.record(task="text-to-video", video_seconds=1, device_seconds=20)
    # An upstream is asked for what the client asked for, whatever that is.
    asked = request("text-to-video", prompt="x", **fields)
    books.quotas.hold(who, "chat", "smol")
    books.quotas.hold(who, "text-to-video", "smol", asked).release()
    held = books.holds.held(who.id)
    assert (math.isfinite(held.video_seconds), math.isfinite(held.device_seconds)) == (True, True)
