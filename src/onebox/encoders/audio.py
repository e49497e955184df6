"""Encoder `audio`: one channel of samples to MP3, Opus, AAC, FLAC, WAV or plain PCM, whole or part
by part.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output, StreamEncoder
from onebox.encoders.audio_codecs import CodedAudio, PlainAudio

# What OpenAI's clients take for granted.
PCM_RATE = 24_000
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
# The size of a file that is still being made.
UNKNOWN = 0xFFFFFFFF
SAMPLE_BYTES = 2


class AudioEncoder(Encoder):
    """Takes float32 arrays [n] within -1 and 1; what is beyond is clipped.

    Options: `format`, and `sampling_rate` in Hz. A format that knows no such rate gets the next
    higher one. `pcm` is always s16le at 24 kHz.
    """

    kind = "audio"

    def encode(self, output: Output) -> Artifact:
        audio_format = output.options.get("format", "mp3")
        data = _whole(output.value, audio_format, output.options["sampling_rate"])
        return Artifact(AUDIO_TYPES[audio_format], data, None, output.meta)

    def stream(self, options: dict[str, Any]) -> StreamEncoder:
        """The file says nothing of its length, and each part brings the sound it holds, but for a
        last fraction of a second that comes with the next one.
        """
        audio_format, rate = options.get("format", "mp3"), options["sampling_rate"]
        if audio_format == "wav":
            return PlainAudio(rate, rate, wav_header(rate, None))
        if audio_format == "pcm":
            return PlainAudio(rate, PCM_RATE)
        return CodedAudio(audio_format, rate)


def wav_header(sampling_rate: int, data_bytes: int | None) -> bytes:
    """What stands before s16le samples of one channel; `data_bytes` is None where nobody knows."""
    size = UNKNOWN if data_bytes is None else data_bytes
    return WAV_HEADER.pack(
        b"RIFF",
        UNKNOWN if data_bytes is None else WAV_HEADER.size - 8 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,  # PCM
        1,  # channel
        sampling_rate,
        sampling_rate * SAMPLE_BYTES,
        SAMPLE_BYTES,
        SAMPLE_BYTES * 8,
        b"data",
        size,
    )


def _whole(samples: Any, audio_format: str, rate: int) -> bytes:
    if audio_format in ("wav", "pcm"):
        plain = PlainAudio(rate, rate if audio_format == "wav" else PCM_RATE)
        data = plain.feed(samples) + plain.end()
        return wav_header(rate, len(data)) + data if audio_format == "wav" else data
    # It can be gone back in, for what a format writes at its front of the length.
    file = io.BytesIO()
    coded = CodedAudio(audio_format, rate, file)
    coded.feed(samples)
    coded.end()
    return file.getvalue()


ENCODERS.register(AudioEncoder.kind, AudioEncoder())
