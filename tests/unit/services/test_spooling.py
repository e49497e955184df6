"""How much of what requests brought along is held at a time."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from onebox.core.errors import QueueFull
from onebox.core.media import MediaRef, Spool
from onebox.runtime.wire import SPOOL_ABOVE_BYTES
from onebox.services import spooling
from onebox.services.spooling import Spooling

SIZE = SPOOL_ABOVE_BYTES + 1


class Asked(BaseModel):
    image: MediaRef
    more: list[MediaRef] = []
    prompt: str = "a cup"


LARGE = Asked(image=MediaRef(data=bytes(SIZE)))
TWICE = Asked(image=MediaRef(data=bytes(SIZE)), more=[MediaRef(data=bytes(SIZE))])
SMALL = Asked(image=MediaRef(data=b"x"))


@pytest.fixture
def door(tmp_path, monkeypatch):
    """With room for two and a half large pictures."""
    monkeypatch.setattr(spooling, "MAX_HELD_BYTES", SIZE * 5 // 2)
    return Spooling(Spool(tmp_path))


def test_files_of_requests_are_held_up_to_a_limit_and_no_further(door):
    with door.room(LARGE), door.room(LARGE), door.room(SMALL):
        with pytest.raises(QueueFull) as caught, door.room(LARGE):
            pass
        assert caught.value.details["waiting"] == 2 * SIZE
        assert caught.value.retry_after_s
        with door.room(SMALL):
            pass
    with door.room(TWICE), pytest.raises(QueueFull), door.room(LARGE):
        pass


def test_a_request_that_is_alone_may_bring_any_size(door, monkeypatch):
    monkeypatch.setattr(spooling, "MAX_HELD_BYTES", 1)
    with door.room(TWICE):
        pass


def test_a_request_that_failed_holds_nothing(door):
    with pytest.raises(ValueError, match="why"), door.room(TWICE):
        raise ValueError("why")
    with door.room(TWICE):
        pass


def test_a_later_part_of_a_request_is_not_refused(door):
    with door.room(TWICE), door.room(TWICE, may_refuse=False):
        pass
