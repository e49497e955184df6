"""What the decoder's child may say, and what is not believed."""

from __future__ import annotations

import io
import struct

import pytest

from onebox.audio.decoding import frames
from onebox.audio.decoding.frames import BadFrame, RawWindow
from onebox.audio.windows import MAX_SAMPLES

WINDOW = RawWindow(480, ((0, 2), (3, 4)), b"\x01\x00" * 4)


def test_frames_come_out_as_they_went_in():
    pipe = io.BytesIO()
    frames.write(pipe, frames.WINDOW, frames.pack_window(WINDOW))
    frames.write(pipe, frames.ENDED, frames.seconds(1.5))
    pipe.seek(0)
    kind, payload = frames.read(pipe)
    assert (kind, frames.read_window(payload)) == (frames.WINDOW, WINDOW)
    kind, payload = frames.read(pipe)
    assert (kind, frames.read_seconds(payload)) == (frames.ENDED, 1.5)
    assert frames.read(pipe) is None


def test_a_frame_that_breaks_off_is_the_end():
    pipe = io.BytesIO()
    frames.write(pipe, frames.BROKEN, b"words")
    for length in range(10):
        assert frames.read(io.BytesIO(pipe.getvalue()[:length])) is None


@pytest.mark.parametrize("head", [struct.pack("<cI", b"w", 1 << 31), struct.pack("<cI", b"?", 0)])
def test_huge_and_unknown_frames_are_refused(head):
    with pytest.raises(BadFrame):
        frames.read(io.BytesIO(head))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        struct.pack("<QH", 0, 0),  # no samples
        struct.pack("<QH", 0, 0) + b"\x00",  # half a sample
        struct.pack("<QH", 0, 0) + bytes(2 * MAX_SAMPLES + 2),  # too many
        struct.pack("<QH", 0, 9) + bytes(8),  # fewer stretches than said
        struct.pack("<QHII", 0, 1, 0, 5) + bytes(8),  # speech after its end
        struct.pack("<QHII", 0, 1, 3, 2) + bytes(8),  # speech backwards
    ],
)
def test_windows_that_cannot_be_are_refused(payload):
    with pytest.raises(BadFrame):
        frames.read_window(payload)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_lengths_that_cannot_be_are_refused(value):
    with pytest.raises(BadFrame):
        frames.read_seconds(struct.pack("<d", value))


def test_orders_come_out_as_they_went_in():
    orders = {"demuxer": "wav", "codecs": ["pcm_u8"], "vad": None}
    assert frames.read_orders(io.BytesIO(frames.orders(orders))) == orders
    assert frames.read_orders(io.BytesIO(b"")) is None
