"""Every kind of file that is taken, decoded for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onebox.audio.decoding.options import VadOptions
from onebox.core.errors import InvalidInput
from tests.audio.listening import heard, joined, opened, windows_of
from tests.audio.sounds import KINDS, RATE, encoded, file_of, tones, wav

# Coded without a note of how much silence the coder put in front.
DELAYED = {"aac", "m4a in fragments"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_has_the_right_length(kind):
    source = opened(file_of(kind))
    assert source.duration_s == pytest.approx(4.0, abs=0.05)
    windows_of(source)
    assert source.duration_s == pytest.approx(4.0, abs=0.05)
    assert source.seconds_decoded == source.duration_s


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DELAYED])
def test_each_kind_of_file_sounds_like_what_went_in(kind):
    sound, wanted = joined(heard(file_of(kind))), tones(4.0)[0]
    length = min(len(sound), len(wanted)) - 400
    error = np.sqrt(np.mean((sound[:length] - wanted[:length]) ** 2))
    assert error < 0.05


def test_windows_of_a_long_file_cover_it_without_gaps():
    signal = tones(100.0)[0] * 20_000
    found = heard(wav(signal))
    assert len(found) >= 4
    assert all(window.length_s <= 30 for window in found)
    np.testing.assert_array_equal(joined(found) * 32768, signal.astype("<i2"))
    assert [window.index for window in found] == list(range(len(found)))


def test_raw_samples_need_no_container():
    samples = (tones(3.0)[0] * 20_000).astype("<i2")
    (only,) = heard(samples.tobytes(), media_type="audio/pcm")
    np.testing.assert_array_equal(only.samples, samples)


def test_many_raw_samples_become_the_same_windows_as_a_file_of_them():
    samples = (tones(90.0)[0] * 20_000).astype("<i2")
    raw = heard(samples.tobytes(), media_type="audio/pcm; rate=16000")
    file = heard(wav(samples))
    assert [window.start_s for window in raw] == [window.start_s for window in file]
    np.testing.assert_array_equal(joined(raw), joined(file))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00" * 31])
def test_raw_samples_are_two_bytes_each(data):
    with pytest.raises(InvalidInput):
        opened(data, media_type="audio/pcm")


def test_a_media_type_that_lies_does_no_harm():
    assert len(heard(file_of("flac"), media_type="image/png")) == 1


def test_windows_of_speech_hold_the_samples_of_the_file_at_their_time():
    speech = spoken()
    sound = np.concatenate([np.zeros(4 * RATE), speech, np.zeros(5 * RATE), speech])
    first, second = heard(wav(sound), vad=VadOptions())
    for window in (first, second):
        start = round(window.start_s * RATE)
        np.testing.assert_array_equal(
            window.samples, sound[start : start + len(window.samples)].astype("<i2")
        )
    end = first.start_s + first.length_s
    assert 4.0 - 0.4 < first.start_s <= 4.3
    assert 14.5 < end <= 15.5
    assert second.start_s >= 19.5
    assert all(0 <= a < b <= first.length_s + 1e-9 for a, b in first.speech)


@pytest.mark.parametrize("kind", ["flac", "mp3", "ogg opus", "m4a", "webm"])
def test_speech_is_found_in_every_kind_of_file(kind):
    container, codec, _, _, more = KINDS[kind]
    signal = (spoken() / 32768).astype(np.float32)[None]
    upsampled = np.repeat(signal, 3, axis=1)
    (only,) = heard(encoded(container, codec, upsampled, 48_000, **more), vad=VadOptions())
    assert only.start_s < 0.5
    assert only.length_s > 10


@pytest.mark.parametrize("sound", ["silence", "hiss", "hum", "music", "clicks"])
def test_what_is_no_speech_gives_no_window(sound):
    assert heard(wav(noises()[sound]), vad=VadOptions()) == []


def test_a_file_without_samples_is_refused():
    with pytest.raises(InvalidInput, match="no sound"):
        opened(wav(np.zeros(0)))


def test_pictures_without_sound_are_refused():
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        film = out.add_stream("libx264", rate=5)
        film.width = film.height = 64
        film.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        out.mux(film.encode(frame))
        out.mux(film.encode(None))
    with pytest.raises(InvalidInput, match="no sound"):
        opened(file.getvalue())


def test_a_codec_that_is_not_allowed_is_refused():
    file = encoded("matroska", "ac3", tones(2.0, 48_000), 48_000)
    with pytest.raises(InvalidInput):
        opened(file)


def spoken() -> np.ndarray:
    """int16 [n]: eleven seconds of real speech."""
    path = Path(__file__).parents[1] / "data" / "jfk.flac"
    return (joined(heard(path.read_bytes())) * 32768).astype(np.int16)


def noises() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(3)
    time = np.arange(20 * RATE) / RATE
    beat = np.exp(-4 * (time % 0.5))
    notes = np.repeat(220 * 2 ** (chance.integers(0, 12, 40) / 12), RATE // 2)
    chord = sum(np.sin(2 * np.pi * ratio * np.cumsum(notes) / RATE) for ratio in (1, 1.25, 1.5))
    return {
        "silence": np.zeros(20 * RATE),
        "hiss": chance.normal(size=20 * RATE) * 2000,
        "hum": np.sin(2 * np.pi * 50 * time) * 9000,
        "music": chord * beat * 6000,
        "clicks": (chance.random(20 * RATE) > 0.9995) * 20_000.0,
    }
