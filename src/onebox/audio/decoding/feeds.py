"""Where an AudioSource has its windows from: raw samples in memory, or a child that decodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import structlog

from onebox.audio.decoding import frames, options
from onebox.audio.decoding.frames import RawWindow
from onebox.audio.decoding.nursery import Nursery
from onebox.audio.decoding.options import VadOptions
from onebox.audio.decoding.process import Child, ChildFailed
from onebox.audio.decoding.sniffing import Container
from onebox.audio.windows import SAMPLING_RATE
from onebox.core.errors import AppError, InferenceFailed, InvalidInput, PayloadTooLarge

log = structlog.get_logger(__name__)

# How far the sound may go on beyond what was found out about it.
_SPARE_S = 60.0
FORMATS = "wav, mp3, flac, ogg (opus, vorbis), m4a, mp4, webm, aac or aiff"


class Sink(Protocol):
    """Who takes the windows."""

    def window(self, raw: RawWindow) -> None:
        """May wait until there is room. Raises what ends the feed."""

    def progress(self, seconds: float) -> None: ...


class Feed(Protocol):
    """The windows of one file, once."""

    def begin(self, run: Callable[[], None]) -> None:
        """Have `run` called on a thread of its own, when its turn has come."""

    def produce(self, sink: Sink) -> None:
        """All windows, in order. Called by `run`. Raises AppError."""

    def stop(self) -> None:
        """It is not wanted any more. From any thread, and more than once."""


class MemoryFeed:
    """A little sound that is decoded already: no child is needed."""

    def __init__(self, data: bytes, vad: VadOptions | None) -> None:
        self._data = data
        self._vad = vad

    def begin(self, run: Callable[[], None]) -> None:
        _thread(run)

    def produce(self, sink: Sink) -> None:
        import numpy as np

        from onebox.audio.decoding.speech import shared_weights
        from onebox.audio.decoding.windowing import Windower

        windower = Windower(shared_weights(), self._vad)
        for window in windower.add(np.frombuffer(self._data, "<i2")):
            sink.window(window)
        for window in windower.end():
            sink.window(window)
        sink.progress(windower.samples / SAMPLING_RATE)

    def stop(self) -> None:
        return


class ChildFeed:
    """An upload in a child process. `probe` first; the child then waits for `produce`, unless
    another file needs its place meanwhile.

    Args:
        read: gives the upload once more, so that it need not be kept while others are served.
    """

    def __init__(
        self,
        data: bytes,
        read: Callable[[], bytes],
        container: Container,
        max_seconds: float,
        vad: VadOptions | None,
        nursery: Nursery,
    ) -> None:
        self._data: bytes | None = data
        self._read = read
        self._max_seconds = max_seconds
        self._nursery = nursery
        self._orders: Mapping[str, Any] = {
            "demuxer": container.demuxer,
            "codecs": container.codecs,
            "max_seconds": max_seconds,
            "vad": asdict(vad) if vad else None,
            "probe_cpu_s": options.PROBE_CPU_S,
            "cpu_per_second": options.CPU_PER_SECOND,
            "working_bytes": options.WORKING_BYTES,
        }
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._ticket: int | None = None
        self._stopped = False
        self._long = False
        self.duration_s = 0.0

    def probe(self) -> None:
        """Find out how long it is. Waits for a place. Raises AppError."""
        place = threading.Event()
        self._nursery.short.enter(place.set)
        place.wait()
        kept = False
        try:
            child = self._fresh()
            self.duration_s = self._answer(child)
            self._long = self.duration_s > options.AHEAD_S
            kept = not self._long
        finally:
            self._data = None
            if not kept:
                self._drop()
                self._nursery.short.leave()
        if kept:
            self._ticket = self._nursery.short.park(self._drop)

    def begin(self, run: Callable[[], None]) -> None:
        if self._keeps_place():
            _thread(run)
        elif self._long:
            self._nursery.long.enter(lambda: _thread(run))
        else:
            self._nursery.short.enter(lambda: _thread(run))

    def produce(self, sink: Sink) -> None:
        try:
            with self._lock:
                child, stopped = self._child, self._stopped
            if stopped:
                return
            if child is None:
                child = self._fresh()
                self._answer(child)
            self._receive(child, sink)
        except (ChildFailed, frames.BadFrame) as failure:
            raise self._explain(failure) from None
        finally:
            self._drop()
            (self._nursery.long if self._long else self._nursery.short).leave()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            child = self._child
        if self._keeps_place():
            self._drop()
            self._nursery.short.leave()
        elif child is not None:
            child.kill()  # Its thread clears up.

    def _keeps_place(self) -> bool:
        with self._lock:
            ticket, self._ticket = self._ticket, None
        return ticket is not None and self._nursery.short.unpark(ticket)

    def _fresh(self) -> Child:
        try:
            child = self._nursery.take()
        except (ChildFailed, OSError) as error:
            log.error("no decoder", reason=str(error))
            raise InferenceFailed("the audio decoder could not be started; try again") from None
        with self._lock:
            self._child = child
            stopped = self._stopped
        if stopped:
            child.kill()
        return child

    def _drop(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()

    def _answer(self, child: Child) -> float:
        data = self._read() if self._data is None else self._data
        try:
            kind, payload = child.order(self._orders, data)
            if kind == frames.PROBED:
                return frames.read_seconds(payload)
            raise self._refusal(kind, payload)
        except (ChildFailed, frames.BadFrame) as failure:
            raise self._explain(failure) from None

    def _receive(self, child: Child, sink: Sink) -> None:
        kind, payload = child.go()
        free_from = 0
        while kind != frames.ENDED:
            if kind == frames.WINDOW:
                raw = frames.read_window(payload)
                if raw.start < free_from:
                    raise frames.BadFrame("windows that overlap")
                free_from = raw.start + len(raw.samples) // 2
                if free_from > self._last_sample:
                    raise frames.BadFrame("more sound than the file has")
                sink.window(raw)
            elif kind == frames.PROGRESS:
                sink.progress(frames.read_seconds(payload))
            else:
                raise self._refusal(kind, payload)
            kind, payload = child.receive()
        sink.progress(frames.read_seconds(payload))

    @property
    def _last_sample(self) -> int:
        """No window ends beyond it. Whoever said to be short must not hold a short place long."""
        seconds = self._max_seconds if self._long else options.AHEAD_S
        return int((seconds + _SPARE_S) * SAMPLING_RATE)

    def _refusal(self, kind: bytes, payload: bytes) -> AppError:
        if kind == frames.LONG:
            return too_long(frames.read_seconds(payload), self._max_seconds)
        if kind == frames.SILENT:
            return InvalidInput("the file holds no sound", param="file")
        return self._explain(ChildFailed(payload.decode("utf-8", "replace")))

    def _explain(self, failure: Exception) -> AppError:
        """The words of a decoder are for the log alone."""
        log.warning("an upload cannot be decoded", reason=str(failure))
        if isinstance(failure, ChildFailed) and failure.outside:
            return InferenceFailed("the audio decoder was stopped; try again")
        return not_audio()


def too_long(seconds: float, limit_s: float) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the sound lasts about {seconds:.0f} s; at most {limit_s:.0f} s may be sent at once: "
        "send it in parts",
        param="file",
        details={"seconds": round(seconds, 1), "max_seconds": limit_s},
    )


def not_audio() -> InvalidInput:
    return InvalidInput(
        f"the file cannot be read as sound: it is damaged, or not {FORMATS}", param="file"
    )


def _thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="audio-source", daemon=True).start()
