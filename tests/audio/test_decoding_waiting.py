"""Uploads that are looked into, and wait for their turn."""

from __future__ import annotations

import gc
import threading

import pytest

from onebox.audio.decoding.nursery import Nursery
from onebox.audio.decoding.source import open_source
from tests.audio.listening import joined, windows_of
from tests.audio.sounds import silent_opus, tones, wav


class Upload(bytes):
    """Tells when nobody has it any more."""

    gone: threading.Event

    def __del__(self) -> None:
        self.gone.set()


@pytest.fixture
def nursery():
    made = Nursery()
    yield made
    made.close()


def waiting(data: bytes, nursery: Nursery):
    """A source of an upload, what tells that the upload is not kept, and how often it was read."""
    upload = Upload(data)
    upload.gone = gone = threading.Event()
    reads = []

    def read() -> bytes:
        reads.append(True)
        return data

    source = open_source(upload, "audio/x", max_seconds=1e5, vad=None, read=read, nursery=nursery)
    return source, gone, reads


@pytest.mark.parametrize("hours", [1 / 3, 0.001], ids=["long", "short"])
def test_an_upload_is_not_kept_while_it_waits(nursery, hours):
    source, gone, _ = waiting(silent_opus(hours), nursery)
    gc.collect()
    assert gone.is_set()
    source.close()


def test_a_long_one_is_read_again_when_its_turn_comes(nursery):
    sound = tones(300)
    source, _, reads = waiting(wav(sound), nursery)
    assert reads == []
    windows = windows_of(source)
    assert reads == [True]
    assert len(joined(windows)) == sound.shape[1]
