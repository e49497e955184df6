"""Sound files of every kind that is taken, made from a known signal."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np

RATE = 16_000


def tones(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """float32 [channels, n] between -1 and 1: a tone that swells, and rises in pitch."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time + 30 * time**2 / max(seconds, 1))
    signal = 0.4 * np.sin(phase) * (0.6 + 0.4 * np.sin(2 * np.pi * time / 3))
    return np.repeat(signal[None].astype(np.float32), channels, 0)


def encoded(
    container: str,
    codec: str,
    signal: np.ndarray,
    rate: int,
    *,
    picture: bool = False,
    bit_rate: int | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> bytes:
    """A file with the signal, float32 [channels, n]; with a second track of pictures if asked."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(signal)]
    with av.open(file, "w", format=container, options=container_options or {}) as out:
        film = _film(out) if picture else None
        track = out.add_stream(codec, rate=rate, layout=layout, options=options or {})
        if bit_rate:
            track.bit_rate = bit_rate
        if film is not None:
            _show(out, film, signal.shape[1] / rate)
        step = track.codec_context.frame_size or 1024
        fit = av.AudioResampler(track.format.name, layout, rate, frame_size=step)
        for at in range(0, signal.shape[1], 48_000):
            piece = np.ascontiguousarray(signal[:, at : at + 48_000])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.pts, frame.time_base = at, Fraction(1, rate)
            for made in fit.resample(frame):
                out.mux(track.encode(made))
        for made in fit.resample(None):
            out.mux(track.encode(made))
        out.mux(track.encode(None))
    return file.getvalue()


def _film(out: Any) -> Any:
    film = out.add_stream("libx264", rate=5)
    film.width = film.height = 64
    film.pix_fmt = "yuv420p"
    return film


def _show(out: Any, film: Any, seconds: float) -> None:
    for at in range(int(seconds * 5)):
        picture = np.full((64, 64, 3), at % 250, np.uint8)
        out.mux(film.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    out.mux(film.encode(None))


# name: container, codec, rate, channels, further options.
KINDS: dict[str, tuple[str, str, int, int, dict[str, Any]]] = {
    "wav": ("wav", "pcm_s16le", 16_000, 1, {}),
    "wav 8 bit": ("wav", "pcm_u8", 8_000, 1, {}),
    "wav 24 bit stereo": ("wav", "pcm_s24le", 44_100, 2, {}),
    "wav float": ("wav", "pcm_f32le", 48_000, 1, {}),
    "wav mu-law": ("wav", "pcm_mulaw", 8_000, 1, {}),
    "wav 5.1": ("wav", "pcm_s16le", 48_000, 6, {}),
    "aiff": ("aiff", "pcm_s16be", 44_100, 2, {}),
    "mp3": ("mp3", "libmp3lame", 44_100, 2, {}),
    "mp3 16 kHz": ("mp3", "libmp3lame", 16_000, 1, {}),
    "flac": ("flac", "flac", 44_100, 2, {}),
    "ogg opus": ("ogg", "libopus", 48_000, 1, {}),
    "ogg flac": ("ogg", "flac", 16_000, 1, {}),
    "ogg vorbis": ("ogg", "vorbis", 44_100, 2, {"options": {"strict": "-2"}}),
    "m4a": ("ipod", "aac", 44_100, 1, {}),
    "m4a alac": ("ipod", "alac", 44_100, 2, {}),
    "m4a in fragments": (
        *("mp4", "aac", 44_100, 1),
        {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    ),
    "aac": ("adts", "aac", 44_100, 1, {}),
    "webm": ("webm", "libopus", 48_000, 1, {}),
    "mkv": ("matroska", "aac", 44_100, 2, {}),
    "mp4 with pictures": ("mp4", "aac", 44_100, 2, {"picture": True}),
}


@cache
def file_of(kind: str, seconds: float = 4.0) -> bytes:
    container, codec, rate, channels, more = KINDS[kind]
    return encoded(container, codec, tones(seconds, rate, channels), rate, **more)


def wav(samples: np.ndarray, rate: int = RATE, *, claimed: int | None = None) -> bytes:
    """int16 [n] as a plain wav file, whose header may claim another number of bytes."""
    data = samples.astype("<i2").tobytes()
    size = len(data) if claimed is None else claimed
    numbers = [16, 1 | 1 << 16, rate, rate * 2, 2 | 16 << 16]
    head = b"WAVEfmt " + b"".join(number.to_bytes(4, "little") for number in numbers)
    whole = min(size + 36, 0xFFFF_FFFF).to_bytes(4, "little")
    return b"RIFF" + whole + head + b"data" + size.to_bytes(4, "little") + data


def silent_opus(hours: float) -> bytes:
    """An ogg file of 120 ms packets of six empty frames: 5 bytes of file for each."""
    head = b"OpusHead\x01\x01\x38\x01" + struct.pack("<IhB", 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    pages = [_ogg_page([head], 0, 0, 2), _ogg_page([tags], 0, 1, 0)]
    # TOC: SILK-only, 20 ms, mono, code 3; then six frames of no bytes.
    packet = bytes([1 << 3 | 3, 6])
    left, number, granule = int(hours * 3600 / 0.12), 2, 0
    while left:
        count = min(left, 255)
        left -= count
        granule += count * 5760
        pages.append(_ogg_page([packet] * count, granule, number, 0 if left else 4))
        number += 1
    return b"".join(pages)


def _ogg_page(packets: list[bytes], granule: int, number: int, flags: int) -> bytes:
    lacing = bytes(len(packet) for packet in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 7, number, 0, len(packets))
    page = bytearray(head + lacing + b"".join(packets))
    page[22:26] = struct.pack("<I", _ogg_checksum(bytes(page)))
    return bytes(page)


def _ogg_checksum(data: bytes) -> int:
    """CRC-32 with polynomial 0x04c11db7, not reflected: the reflected one of zlib, mirrored."""
    start = zlib.crc32(data.translate(_MIRROR), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{start:032b}"[::-1], 2)


_MIRROR = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
