"""Container files to samples, with FFmpeg. Runs in the child process alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from onebox.audio.windows import SAMPLING_RATE

_RATES = range(2_000, 768_001)
_MAX_CHANNELS = 64
# A few damaged packets are passed over, as players do: so many, and this share of all.
_FEW, _SHARE = 3, 0.02
# What a file says of its length is believed when it is so little less than its packets say: it
# knows of the silence that the coder put around the sound. Files of bare packets only guess.
_CLOSE_S = 0.2
_GUESSES = "aac"


class NoSound(Exception):
    """There is no track of sound in the file."""


class Damaged(Exception):
    """It can not be decoded."""


class TooLong(Exception):
    """It lasts about `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds} s")
        self.seconds = seconds


class Memory:
    """Bytes as a file to read from; nothing is copied but what is read."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, count: int) -> bytes:
        piece = bytes(self._data[self._at : self._at + max(0, count)])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, len(self._data))[whence]
        self._at = min(max(0, start + offset), len(self._data))
        return self._at

    def tell(self) -> int:
        return self._at


class File:
    """An upload. Nothing but its own bytes is ever read.

    Args:
        demuxer: FFmpeg's name of its container.
        codecs: FFmpeg's names of the decoders that may be used.
    """

    def __init__(self, data: bytes | bytearray, demuxer: str, codecs: Sequence[str]) -> None:
        self._data = data
        self._demuxer = demuxer
        self._codecs = codecs

    def length_s(self, limit_s: float) -> float:
        """Adds up the packets, without decoding. Raises NoSound, Damaged or TooLong."""
        with self._open() as container:
            track = self._track(container)
            base = float(track.time_base)
            told = float(track.duration) * base if track.duration else 0.0
            seconds, packets, first = 0.0, 0, None
            for packet in _packets(container, track):
                packets += 1
                seconds += (packet.duration or 0) * base
                if packet.pts is not None and not packet.duration:
                    first = packet.pts if first is None else first
                    seconds = max(seconds, (packet.pts - first) * base)
                if seconds > limit_s:
                    done = (packet.pos or 0) / len(self._data)
                    raise TooLong(seconds / done if 0 < done < 1 else seconds)
        if not packets:
            raise NoSound("no packets")
        believed = self._demuxer != _GUESSES and 0 <= seconds - told < _CLOSE_S
        return told if believed else seconds

    def samples(self) -> Iterator[Any]:
        """int16 arrays [n], mono, SAMPLING_RATE. Raises NoSound or Damaged."""
        with self._open() as container:
            track = self._track(container)
            track.codec_context.thread_count = 1
            resampler = _Resampler()
            packets = errors = 0
            for packet in _packets(container, track):
                packets += 1
                try:
                    frames = packet.decode()
                except ValueError as error:  # FFmpeg's word for invalid data.
                    errors += 1
                    if errors > _FEW and errors > _SHARE * packets:
                        raise Damaged(f"{errors} of {packets} packets: {error}") from None
                    continue
                for frame in frames:
                    yield from resampler.add(frame)
            yield from self._rest(track, resampler)

    def _rest(self, track: Any, resampler: _Resampler) -> Iterator[Any]:
        try:
            frames = track.codec_context.decode(None)
        except (ValueError, EOFError):
            frames = []
        for frame in frames:
            yield from resampler.add(frame)
        yield from resampler.end()

    def _open(self) -> Any:
        import av

        return av.open(
            Memory(self._data),
            format=self._demuxer,
            metadata_errors="replace",
            options={
                "format_whitelist": self._demuxer,
                "codec_whitelist": ",".join(self._codecs),
                "protocol_whitelist": "none",
                "max_streams": "32",
            },
        )

    def _track(self, container: Any) -> Any:
        """The first track of sound."""
        if not container.streams.audio:
            raise NoSound("no track of sound")
        track = container.streams.audio[0]
        if track.codec_context is None or track.codec_context.codec.name not in self._codecs:
            raise Damaged("no decoder that may be used")
        return track


class _Resampler:
    """To 16 kHz and mono; the form of the frames may change on the way."""

    def __init__(self) -> None:
        self._form: tuple[Any, ...] = ()
        self._resampler: Any = None

    def add(self, frame: Any) -> Iterator[Any]:
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            yield from self.end()
            if frame.sample_rate not in _RATES or frame.layout.nb_channels > _MAX_CHANNELS:
                raise Damaged(f"frames of the form {form}")
            self._form = form
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)
        frame.pts = None  # Samples are counted; nothing is filled in or left out.
        yield from self._arrays(frame)

    def end(self) -> Iterator[Any]:
        if self._resampler is not None:
            yield from self._arrays(None)
            self._resampler = None

    def _arrays(self, frame: Any) -> Iterator[Any]:
        for made in self._resampler.resample(frame):
            yield made.to_ndarray().reshape(-1)


def _packets(container: Any, track: Any) -> Iterator[Any]:
    """Those of one track, without the empty one at the end."""
    for packet in container.demux(track):
        if packet.size:
            yield packet
