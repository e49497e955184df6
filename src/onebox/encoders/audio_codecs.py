"""Samples that come part by part, on their way into one file without gaps."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

# What goes to the library at a time.
BLOCK_SAMPLES = 65_536
# Some formats have no file without sound.
SILENCE_S = 0.02


@dataclass(frozen=True, slots=True)
class Codec:
    """How one format is made.

    Attributes:
        container, name: as FFmpeg calls them.
        bit_rate: in bits a second; enough for one voice.
        streaming: options of a file that nobody goes back in.
    """

    container: str
    name: str
    bit_rate: int | None = None
    sample_format: str | None = None
    streaming: dict[str, str] = field(default_factory=dict)


CODECS = {
    # Its first frame would tell a length, which is not known.
    "mp3": Codec("mp3", "libmp3lame", 64_000, None, {"write_xing": "0", "id3v2_version": "0"}),
    # Pages of µs; they are a second long otherwise, and the last one waits for the next.
    "opus": Codec("ogg", "libopus", 32_000, None, {"page_duration": "40000"}),
    "aac": Codec("adts", "aac", 64_000),
    "flac": Codec("flac", "flac", None, "s16"),
}


class Samples:
    """Cuts samples into frames of the library, on one time line."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.sent = 0

    def frames(self, samples: Any) -> Iterator[av.AudioFrame]:
        import av
        import numpy as np

        clipped = np.clip(np.asarray(samples, dtype=np.float32), -1.0, 1.0)
        for start in range(0, len(clipped), BLOCK_SAMPLES):
            block = clipped[None, start : start + BLOCK_SAMPLES]
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self.sent
            self.sent += block.shape[1]
            yield frame


class PlainAudio:
    """s16le samples, after a header if there is one.

    Args:
        rate: of what comes, in Hz.
        made: of what goes.
    """

    def __init__(self, rate: int, made: int, header: bytes = b"") -> None:
        import av

        self._samples = Samples(rate)
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=made)
        self._header = header

    def feed(self, value: Any) -> bytes:
        made = [
            made
            for frame in self._samples.frames(value)
            for made in self._resampler.resample(frame)
        ]
        return self._taken(made)

    def end(self) -> bytes:
        return self._taken(self._resampler.resample(None) if self._samples.sent else [])

    def _taken(self, frames: Iterable[av.AudioFrame]) -> bytes:
        header, self._header = self._header, b""
        return header + b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)


class _Pipe:
    """A file that is only written; what was written is taken out."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


class CodedAudio:
    """A file of one of `CODECS`.

    Args:
        rate: of what comes, in Hz; the file has the next higher one that its format knows.
        file: what it is written to; given that, no call returns bytes of it.
    """

    def __init__(self, audio_format: str, rate: int, file: io.BytesIO | None = None) -> None:
        import av

        codec = CODECS[audio_format]
        self._pipe = _Pipe()
        self._rate = rate
        self._samples = Samples(rate)
        self._container = av.open(
            file or self._pipe,
            "w",
            format=codec.container,
            options={} if file else {"flush_packets": "1", **codec.streaming},
        )
        stream = self._container.add_stream(codec.name, _rate_of(codec.name, rate))
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        if codec.bit_rate is not None:
            stream.bit_rate = codec.bit_rate
        if codec.sample_format is not None:
            stream.format = codec.sample_format
        self._stream = stream

    def feed(self, value: Any) -> bytes:
        self._encode(value)
        return self._pipe.take()

    def end(self) -> bytes:
        if not self._samples.sent:
            self._encode([0.0] * int(self._rate * SILENCE_S))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._pipe.take()

    def _encode(self, samples: Any) -> None:
        for frame in self._samples.frames(samples):
            self._container.mux(self._stream.encode(frame))


def _rate_of(codec: str, rate: int) -> int:
    """The lowest rate that the codec knows and that loses nothing, else its highest."""
    import av

    known = sorted(av.Codec(codec, "w").audio_rates or [rate])
    return next((other for other in known if other >= rate), known[-1])
