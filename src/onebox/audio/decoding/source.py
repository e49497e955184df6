"""`AudioSource`: an upload on its way to becoming windows of speech."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from onebox.audio.decoding import frames
from onebox.audio.decoding.feeds import (
    ChildFeed,
    Feed,
    MemoryFeed,
    not_audio,
    too_long,
)
from onebox.audio.decoding.frames import RawWindow
from onebox.audio.decoding.nursery import Nursery, shared_nursery
from onebox.audio.decoding.options import AHEAD_S, VadOptions
from onebox.audio.decoding.sniffing import PCM, Container, sniff
from onebox.audio.windows import SAMPLING_RATE, Window
from onebox.core.errors import AppError, InferenceFailed, InvalidInput

log = structlog.get_logger(__name__)

RAW_TYPE = "audio/pcm"
# Raw samples up to this length are handled in this process, which is quicker.
SHORT_RAW_S = 60.0


def open_source(
    data: bytes,
    media_type: str,
    *,
    max_seconds: float,
    vad: VadOptions | None,
    read: Callable[[], bytes] | None = None,
    nursery: Nursery | None = None,
) -> AudioSource:
    """Look into an upload. Takes some milliseconds, and tenths of a second for the first one.

    Args:
        read: gives `data` once more, so that a long upload need not be kept until its turn comes.
        media_type: "audio/pcm" for raw samples (16 bits, little-endian, mono, 16 kHz); of all
            else the bytes tell what it is.
        vad: None for all of the file in windows, also where nobody speaks.

    Raises InvalidInput or PayloadTooLarge.
    """
    keeper = nursery or shared_nursery()
    if media_type.partition(";")[0].strip().lower() == RAW_TYPE:
        seconds = _raw_seconds(data, max_seconds)
        if seconds <= SHORT_RAW_S:
            return AudioSource(MemoryFeed(data, vad), seconds)
        container: Container | None = Container(PCM, ())
    else:
        container = sniff(data)
    if container is None:
        raise not_audio()
    feed = ChildFeed(data, read or (lambda: data), container, max_seconds, vad, keeper)
    feed.probe()
    return AudioSource(feed, feed.duration_s)


def _raw_seconds(data: bytes, max_seconds: float) -> float:
    if len(data) % 2 or not data:
        raise InvalidInput(
            f"raw sound is two bytes a sample, and this is {len(data)} bytes", param="file"
        )
    seconds = len(data) / 2 / SAMPLING_RATE
    if seconds > max_seconds:
        raise too_long(seconds, max_seconds)
    return seconds


class AudioSource:
    """Windows are made ahead on a thread of its own, and wait here until they are taken: at most
    AHEAD_S of sound. Safe from any thread.

    Attributes:
        duration_s: how long the file is: as its packets say, until all of it was decoded.
        seconds_decoded: how far it has got; silence counts too.
    """

    def __init__(self, feed: Feed, duration_s: float) -> None:
        self.duration_s = duration_s
        self.seconds_decoded = 0.0
        self._feed = feed
        self._changed = threading.Condition()
        self._ready: deque[Window] = deque()
        self._ready_samples = 0
        self._count = 0
        self._wake: Callable[[], None] | None = None
        self._error: AppError | None = None
        self._finished = False
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether all windows were taken, and none will come. Never so while `take` would raise."""
        with self._changed:
            return self._finished and not self._ready and self._error is None

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to decode, in the background. Once.

        `wake` is called from another thread whenever there are windows, and at the end.
        """
        with self._changed:
            if self._closed or self._wake is not None:
                return
            self._wake = wake
        self._feed.begin(self._run)

    def take(self, most: int) -> list[Window]:
        """Windows that are ready, in order; maybe none. Raises what decoding ended in."""
        with self._changed:
            if self._error is not None:
                raise self._error
            taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
            self._ready_samples -= sum(len(window.samples) for window in taken)
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """End it, whatever it is doing. From any thread, and more than once."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._feed.stop()

    def window(self, raw: RawWindow) -> None:
        """A Sink's."""
        window = frames.to_window(raw, self._count)
        length = len(window.samples)
        with self._changed:
            room = AHEAD_S * SAMPLING_RATE - length
            self._changed.wait_for(lambda: self._closed or self._ready_samples <= room)
            if self._closed:
                raise InferenceFailed("nobody listens any more")
            self._count += 1
            self._ready.append(window)
            self._ready_samples += length
        self.progress(window.start_s + window.length_s)
        self._tell()

    def progress(self, seconds: float) -> None:
        """A Sink's."""
        self.seconds_decoded = max(self.seconds_decoded, seconds)

    def _run(self) -> None:
        error: AppError | None = None
        try:
            self._feed.produce(self)
        except AppError as raised:
            error = raised
        except Exception:
            log.exception("decoding an upload failed")
            error = InferenceFailed("decoding the file failed")
        with self._changed:
            self._error = None if self._closed else error
            self._finished = True
            if error is None:
                self.duration_s = self.seconds_decoded
        self._tell()

    def _tell(self) -> None:
        if self._wake is not None and not self._closed:
            self._wake()
