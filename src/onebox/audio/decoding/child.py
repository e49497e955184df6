"""The child process that decodes one upload: see `frames.py` for what goes over its pipes.

Started by `process.py` as a script, isolated. It reads the upload from stdin, and ends with stdin:
when the parent goes, or wants no more. Before it looks at the first byte it gives up all it does
not need: opening files and sockets, memory, time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

WORDS = 300
# That of `onebox.audio.windows`: up here a script cannot import what is beside it.
SAMPLING_RATE = 16_000
# Samples between two words of progress, and of raw samples that are handled at a time.
STEP = 30 * SAMPLING_RATE


class Watch:
    """Waits for GO on stdin, on a thread of its own; the end of stdin is the end of the process."""

    def __init__(self, pipe: BinaryIO) -> None:
        import threading

        self._pipe = pipe
        self._go = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def wait(self) -> None:
        self._go.wait()

    def _wait(self) -> None:
        while self._pipe.read(1):
            self._go.set()
        os._exit(0)


class RawSamples:
    """Samples that are already what they should become."""

    def __init__(self, data: bytes | bytearray) -> None:
        import numpy as np

        self._samples = np.frombuffer(data, "<i2")

    def length_s(self, _limit_s: float) -> float:
        return len(self._samples) / SAMPLING_RATE

    def samples(self) -> Iterator[Any]:
        for at in range(0, len(self._samples), STEP):
            yield self._samples[at : at + STEP]


class Limits:
    """What the process may still take. Where the system has no such limits, the parent's have to
    do.
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        if sys.platform != "win32":
            self._shut()

    def _shut(self) -> None:
        from onebox.core.confinement import set_limits

        set_limits({"RLIMIT_FSIZE": 0}, self._orders["working_bytes"])
        longest = self._orders["probe_cpu_s"] + self._cpu_s(self._orders["max_seconds"])
        self._allow(self._orders["probe_cpu_s"], longest)

    def allow(self, seconds: float) -> None:
        """CPU time for so much sound."""
        if sys.platform != "win32":
            import resource

            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            self._allow(min(self._cpu_s(seconds), self._cpu_s(self._orders["max_seconds"])), hard)

    def _cpu_s(self, seconds: float) -> int:
        return int(self._orders["probe_cpu_s"] + self._orders["cpu_per_second"] * seconds)

    def _allow(self, more_s: int, hard: int) -> None:
        import resource
        import time

        soft = int(time.process_time()) + 1 + more_s
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard), hard))


def work(out: BinaryIO, orders: dict[str, Any], data: bytearray, weights: dict[str, Any]) -> None:
    """Look into the upload, wait for GO, decode it."""
    from onebox.audio.decoding import container, frames
    from onebox.core.confinement import refuse_the_outside

    watch = Watch(sys.stdin.buffer)
    limits = Limits(orders)
    refuse_the_outside("a decoder")
    try:
        seconds = sound_of(orders, data).length_s(orders["max_seconds"])
        if seconds > orders["max_seconds"]:
            raise container.TooLong(seconds)
        frames.write(out, frames.PROBED, frames.seconds(seconds))
        watch.wait()
        limits.allow(seconds)
        decode(out, orders, data, weights)
    except container.TooLong as error:
        frames.write(out, frames.LONG, frames.seconds(min(error.seconds, 1e8)))
    except container.NoSound as error:
        frames.write(out, frames.SILENT, words_of(error))
    except BrokenPipeError:
        return
    except Exception as error:  # A file can be wrong in every way that FFmpeg knows.
        frames.write(out, frames.BROKEN, words_of(error))


def sound_of(orders: dict[str, Any], data: bytearray) -> Any:
    from onebox.audio.decoding import container

    if orders["demuxer"] == "pcm":
        return RawSamples(data)
    return container.File(data, orders["demuxer"], orders["codecs"])


def decode(out: BinaryIO, orders: dict[str, Any], data: bytearray, weights: dict[str, Any]) -> None:
    from onebox.audio.decoding import container, frames
    from onebox.audio.decoding.options import VadOptions
    from onebox.audio.decoding.windowing import Windower

    vad = VadOptions(**orders["vad"]) if orders["vad"] else None
    windower, told = Windower(weights, vad), 0
    for samples in sound_of(orders, data).samples():
        for window in windower.add(samples):
            frames.write(out, frames.WINDOW, frames.pack_window(window))
        if windower.samples > orders["max_seconds"] * SAMPLING_RATE:
            raise container.TooLong(windower.samples / SAMPLING_RATE)
        if windower.samples - told >= STEP:
            told = windower.samples
            frames.write(out, frames.PROGRESS, frames.seconds(told / SAMPLING_RATE))
    for window in windower.end():
        frames.write(out, frames.WINDOW, frames.pack_window(window))
    frames.write(out, frames.ENDED, frames.seconds(windower.samples / SAMPLING_RATE))


def words_of(error: BaseException) -> bytes:
    return f"{type(error).__name__}: {error}"[:WORDS].encode("utf-8", "replace")


def warm_up(weights: dict[str, Any]) -> None:
    """Once through with a little sound and with none: whatever is imported late is imported now."""
    import io
    import wave

    from onebox.audio.decoding import container
    from onebox.audio.decoding.options import VadOptions
    from onebox.audio.decoding.windowing import Windower

    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(44_100)
        writer.writeframes(bytes(4 * 44_100))
    sound = container.File(file.getvalue(), "wav", ("pcm_s16le",))
    sound.length_s(10.0)
    windower = Windower(weights, VadOptions())
    for samples in sound.samples():
        list(windower.add(samples))
    list(windower.end())
    with suppress(Exception):
        container.File(b"", "flac", ("flac",)).length_s(10.0)


def read_upload(pipe: BinaryIO, size: int) -> bytearray | None:
    """None if the parent has gone."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = pipe.readinto(view[got:])  # type: ignore[attr-defined]  # BufferedReader has it
        if not count:
            return None
        got += count
    return data


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import av.logging

    from onebox.audio.decoding import frames
    from onebox.audio.decoding.speech import load_weights

    av.logging.set_level(av.logging.PANIC)
    weights = load_weights()
    warm_up(weights)
    out, pipe = sys.stdout.buffer, sys.stdin.buffer
    frames.write(out, frames.READY)
    orders = frames.read_orders(pipe)
    data = read_upload(pipe, orders["size"]) if orders else None
    if orders is not None and data is not None:
        work(out, orders, data, weights)
        out.flush()
    # Without waiting for the thread that listens for the parent.
    os._exit(0)


if __name__ == "__main__":
    main()
