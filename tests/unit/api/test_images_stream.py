"""Pictures as events, while they are made."""

from __future__ import annotations

import base64

from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from onebox.core.errors import OutOfMemory
from tests.unit.api.drawing import SIDE, Drawings, draw, edit, picture, preview, told
from tests.unit.api.reading import PNG

STREAM = {"stream": True, "partial_images": 2}
EVENTS = {
    "image_generation.partial_image": ImageGenPartialImageEvent,
    "image_generation.completed": ImageGenCompletedEvent,
    "image_edit.partial_image": ImageEditPartialImageEvent,
    "image_edit.completed": ImageEditCompletedEvent,
}


def parsed(answer):
    """Each event as the SDK's types have it, checked as strictly as they can."""
    return [EVENTS[name].model_validate(data) for name, data in told(answer)]


def test_partial_images_come_before_the_picture(services):
    drawings = Drawings([preview(0, b"dim"), preview(0, b"clear")])
    answer, _ = draw(services, drawings, **STREAM, quality="low")
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, second, last = parsed(answer)
    assert [base64.b64decode(e.b64_json) for e in (first, second)] == [b"dim", b"clear"]
    assert [event.partial_image_index for event in (first, second)] == [0, 1]
    # What the bytes are, for whoever opens them.
    assert (first.output_format, first.size, first.quality) == ("jpeg", f"{SIDE}x{SIDE}", "low")
    assert base64.b64decode(last.b64_json) == PNG + b"\x01"
    assert (last.output_format, last.background) == ("png", "opaque")
    assert last.usage.total_tokens == last.usage.input_tokens + (SIDE // 16) ** 2
    assert last.model_extra == {"image_index": 0, "seed": 1}
    assert drawings.input.partial_images == 2


def test_without_partial_images_the_picture_is_the_one_event(services):
    answer, _ = draw(services, stream=True)
    assert [name for name, _ in told(answer)] == ["image_generation.completed"]


def test_of_several_pictures_each_has_its_events(services):
    deltas = [preview(0, b"a"), preview(1, b"b"), preview(0, b"c"), preview(1, b"d")]
    answer, _ = draw(services, Drawings(deltas), **STREAM, n=2)
    events = parsed(answer)
    shown = [(e.model_extra["image_index"], e.partial_image_index) for e in events[:4]]
    assert shown == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [(e.model_extra["image_index"], e.model_extra["seed"]) for e in events[4:]] == [
        (0, 1),
        (1, 2),
    ]


def test_an_edit_has_events_of_its_own(services):
    drawings = Drawings([preview(0, b"dim")], artifacts=[picture(1, width=300, height=200)])
    answer, _ = edit(services, ("stream", "true"), ("partial_images", "1"), drawings=drawings)
    partial, done = parsed(answer)
    assert (partial.type, done.type) == ("image_edit.partial_image", "image_edit.completed")
    assert (done.size, done.usage.input_tokens_details.image_tokens) == (
        "300x200",
        (SIDE // 16) ** 2,
    )


def test_a_late_error_is_the_last_event(services):
    drawings = Drawings([preview(0, b"dim")], failure=OutOfMemory("no room left"))
    answer, _ = draw(services, drawings, **STREAM)
    (first, _), (last, data) = told(answer)
    assert (answer.status, first, last) == (200, "image_generation.partial_image", "error")
    assert data["error"]["message"] == "no room left"
