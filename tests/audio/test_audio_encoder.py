"""What the encoder `audio` makes, as the library reads it again."""

from __future__ import annotations

import io
import itertools
import struct

import av
import numpy as np
import pytest

from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.results import Output
from onebox.encoders.audio import AudioEncoder

FORMATS = list(AUDIO_TYPES)
RATE = 22_050
RATES = (8_000, 16_000, RATE, 24_000, 44_100, 48_000)
UNKNOWN = 0xFFFFFFFF
# Sound that a codec puts before what it was given, at most.
DELAY_S = 0.15


def tone(seconds: float, rate: int = RATE, pitch: float = 440.0, start: float = 0.0) -> np.ndarray:
    """A pitch that slides, so that a wrong place shows."""
    time = start + np.arange(int(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (pitch + 60 * time) * time)).astype(np.float32)


def encoded(samples, audio_format: str, rate: int = RATE):
    options = {"format": audio_format, "sampling_rate": rate}
    return AudioEncoder().encode(Output("audio", samples, options, {"seed": 7}))


def streamed(parts, audio_format: str, rate: int = RATE) -> list[bytes]:
    """What each part brings, and the end."""
    stream = AudioEncoder().stream({"format": audio_format, "sampling_rate": rate})
    return [*map(stream.feed, parts), stream.end()]


def decoded(data: bytes, audio_format: str) -> tuple[np.ndarray, int]:
    """Samples and their rate."""
    if audio_format == "pcm":
        return np.frombuffer(data, "<i2") / 32768, 24_000
    found = [np.zeros(0)]
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = itertools.chain(container.decode(audio=0), [None])
        found += [made.to_ndarray()[0] for frame in frames for made in resampler.resample(frame)]
    return np.concatenate(found), rate


def likeness(samples: np.ndarray, rate: int, heard: np.ndarray, heard_rate: int) -> float:
    """How alike they are where they fit best, 1 for equal, with up to `DELAY_S` before it."""
    times = np.arange(int(len(samples) * heard_rate / rate)) / heard_rate
    wanted = np.interp(times, np.arange(len(samples)) / rate, samples)
    best = 0.0
    for delay in range(int(DELAY_S * heard_rate)):
        part = heard[delay : delay + len(wanted)]
        own = wanted[: len(part)]
        best = max(best, float(part @ own / np.sqrt((part @ part) * (own @ own) + 1e-12)))
    return best


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_file_sounds_like_what_it_was_made_of(audio_format):
    samples = tone(1.0)
    artifact = encoded(samples, audio_format)
    assert (artifact.media_type, artifact.meta) == (AUDIO_TYPES[audio_format], {"seed": 7})
    heard, rate = decoded(artifact.data, audio_format)
    assert len(samples) / RATE - 0.001 <= len(heard) / rate <= len(samples) / RATE + DELAY_S
    assert likeness(samples, RATE, heard, rate) > 0.99


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "flac", "wav", "pcm"])
def test_a_whole_file_is_as_long_as_the_sound(audio_format):
    heard, rate = decoded(encoded(tone(1.3), audio_format).data, audio_format)
    assert len(heard) / rate == pytest.approx(1.3, abs=0.002)


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("rate", RATES)
def test_any_rate_of_a_voice_will_do(audio_format, rate):
    samples = tone(0.3, rate)
    heard, made = decoded(encoded(samples, audio_format, rate).data, audio_format)
    assert likeness(samples, rate, heard, made) > 0.98
    whole = len(samples) / rate
    assert whole - 0.001 <= len(heard) / made <= whole + 2 * DELAY_S


def test_a_rate_that_a_format_has_not_becomes_the_next_higher_one():
    for audio_format, made in (("mp3", 22_050), ("opus", 48_000), ("aac", 22_050), ("wav", 20_000)):
        _, rate = decoded(encoded(tone(0.2, 20_000), audio_format, 20_000).data, audio_format)
        assert rate == made


@pytest.mark.parametrize("audio_format", FORMATS)
def test_parts_are_one_sound_without_gaps(audio_format):
    samples = tone(1.5)
    # Cut where no frame of any codec ends.
    parts = np.split(samples, [1, 7_001, 20_011])
    heard, rate = decoded(b"".join(streamed(parts, audio_format)), audio_format)
    assert likeness(samples, RATE, heard, rate) > 0.99
    whole, _ = decoded(b"".join(streamed([samples], audio_format)), audio_format)
    assert np.array_equal(heard, whole)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_first_part_can_be_heard_before_the_second_comes(audio_format):
    stream = AudioEncoder().stream({"format": audio_format, "sampling_rate": RATE})
    sentence = tone(1.0)
    heard, rate = decoded(stream.feed(sentence), audio_format)
    assert len(heard) / rate > 0.8
    assert likeness(sentence[: int(0.7 * RATE)], RATE, heard, rate) > 0.98


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_short_word_does_not_wait_either(audio_format):
    first, *_ = streamed([tone(0.35), tone(1.0)], audio_format)
    heard, rate = decoded(first, audio_format)
    assert len(heard) / rate > 0.1


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("parts", [[], [[]], [[], []]], ids=["no part", "one", "two"])
def test_nothing_is_a_file_that_opens(audio_format, parts):
    for data in (
        encoded(np.zeros(0, np.float32), audio_format).data,
        b"".join(streamed([np.array(part, np.float32) for part in parts], audio_format)),
    ):
        heard, rate = decoded(data, audio_format)
        assert len(heard) / rate < 2 * DELAY_S
        assert np.abs(heard).max(initial=0) < 1e-3


@pytest.mark.parametrize("audio_format", FORMATS)
def test_what_is_too_loud_is_clipped_and_does_not_turn_over(audio_format):
    loud = 3 * tone(0.5, pitch=220)
    heard, rate = decoded(encoded(loud, audio_format).data, audio_format)
    assert likeness(np.clip(loud, -1, 1), RATE, heard, rate) > 0.98


def wav_sizes(data: bytes) -> tuple[int, int]:
    """Of the file and of the samples, as its header tells them."""
    assert (data[:4], data[8:16], data[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
    return struct.unpack("<I", data[4:8])[0], struct.unpack("<I", data[40:44])[0]


def test_the_header_of_a_wav_tells_its_length_only_where_it_is_known():
    data = encoded(tone(0.5), "wav").data
    assert wav_sizes(data) == (len(data) - 8, len(data) - 44)
    assert wav_sizes(streamed([tone(0.5)], "wav")[0]) == (UNKNOWN, UNKNOWN)


def test_a_streamed_mp3_tells_no_length_that_it_cannot_know():
    assert b"Info" in encoded(tone(0.5), "mp3").data
    first, *_ = streamed([tone(0.5)], "mp3")
    # Sound from the first byte on: no tags, no frame that counts the others.
    assert first[:2] == b"\xff\xf3"
    assert not any(mark in first for mark in (b"Xing", b"Info", b"ID3"))


def test_pcm_is_24_khz_whatever_the_voice_has():
    assert len(encoded(tone(0.5, 16_000), "pcm", 16_000).data) == 24_000
    assert sum(map(len, streamed([tone(0.25, 48_000)] * 2, "pcm", 48_000))) == 24_000


def test_wav_and_pcm_of_the_same_rate_are_the_samples_themselves():
    samples = tone(0.1, 24_000)
    wanted = np.round(samples * 32768).astype("<i2").tobytes()
    assert encoded(samples, "pcm", 24_000).data == wanted
    assert encoded(samples, "wav", 24_000).data[44:] == wanted


def test_mp3_is_the_default():
    artifact = AudioEncoder().encode(Output("audio", tone(0.1), {"sampling_rate": RATE}))
    assert artifact.media_type == "audio/mpeg"
