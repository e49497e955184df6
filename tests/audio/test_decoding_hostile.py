"""Uploads that want to do harm: the worst that comes of them is an error in plain words."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from onebox.audio.decoding.nursery import Nursery
from onebox.audio.decoding.options import VadOptions
from onebox.core.errors import AppError, InvalidInput, PayloadTooLarge
from tests.audio.listening import heard, joined, opened, windows_of
from tests.audio.sounds import KINDS, RATE, encoded, file_of, silent_opus, tones, wav

DAMAGED = ["wav 24 bit stereo", "aiff", "mp3", "flac", "ogg opus", "m4a", "aac", "webm"]
MUTATIONS = 6


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


def refusal_of(data: bytes, nursery: Nursery, **more) -> AppError | None:
    """What a file ends in; None if it can be heard."""
    try:
        heard(data, nursery=nursery, **more)
    except (InvalidInput, PayloadTooLarge) as error:
        return error
    return None


@pytest.mark.parametrize("kind", DAMAGED)
def test_random_damage_ends_in_sound_or_in_plain_words(kind, nursery):
    whole = file_of(kind, 2.0)
    chance = random.Random(kind)
    plain = "the file cannot be read as sound: it is damaged, or not wav"
    for _ in range(MUTATIONS):
        error = refusal_of(mutated(whole, chance), nursery, max_seconds=600)
        if isinstance(error, InvalidInput):
            assert error.message.startswith((plain, "the file holds no sound"))
    assert refusal_of(whole, nursery) is None


def mutated(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.choice([1, 4, 30])):
        # Headers are where most goes wrong.
        end = len(made) if chance.random() < 0.5 else min(len(made), 400)
        at = chance.randrange(12, end)
        kind = chance.randrange(4)
        if kind == 0:
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            made[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        elif kind == 2:
            made[at:at] = chance.randbytes(chance.randrange(64))
        elif len(made) > 500:
            del made[at : at + chance.randrange(64)]
    return bytes(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_heard_in_part_or_refused(kind, share, nursery):
    data = file_of(kind)
    source_error = refusal_of(data[: int(len(data) * share)], nursery)
    assert source_error is None or isinstance(source_error, InvalidInput)


@pytest.mark.parametrize("claimed", [0, 0xFFFF_FFFF, 10 * 3600 * 2 * RATE])
def test_a_header_that_lies_about_its_size_is_not_believed(claimed, nursery):
    signal = tones(3.0)[0] * 20_000
    file = wav(signal, claimed=min(claimed, 0xFFFF_FFFF))
    source = opened(file, nursery=nursery, max_seconds=60)
    assert source.duration_s == pytest.approx(3.0, abs=0.05)
    np.testing.assert_array_equal(joined(windows_of(source)) * 32768, signal.astype("<i2"))


def test_a_file_that_lasts_too_long_is_refused_before_it_is_decoded(nursery):
    with pytest.raises(PayloadTooLarge, match=r"about 4 s; at most 3 s") as caught:
        opened(file_of("flac"), nursery=nursery, max_seconds=3)
    assert caught.value.details["max_seconds"] == 3


def test_hours_of_silence_in_a_small_file_are_refused_before_they_are_decoded(nursery):
    bomb = silent_opus(hours=40)
    assert len(bomb) < 6_000_000
    with pytest.raises(PayloadTooLarge) as caught:
        opened(bomb, nursery=nursery)
    assert caught.value.details["seconds"] == pytest.approx(40 * 3600, rel=0.05)


def test_a_bomb_below_the_limit_is_heard_as_silence(nursery):
    source = opened(silent_opus(hours=0.5), nursery=nursery, vad=VadOptions())
    assert windows_of(source) == []
    assert source.duration_s == pytest.approx(1800, abs=1)


def test_sound_is_counted_when_it_is_decoded_too(nursery):
    """The packets say that they last a thousandth of what they do."""
    lying = in_no_time(file_of("m4a"))
    source = opened(lying, nursery=nursery, max_seconds=3)
    assert source.duration_s < 0.1
    with pytest.raises(PayloadTooLarge):
        windows_of(source)


def test_a_long_file_that_says_it_is_short_is_refused(nursery):
    """It would keep a place for short ones."""
    lying = in_no_time(encoded("ipod", "aac", tones(320.0, 44_100), 44_100))
    with pytest.raises(InvalidInput, match="cannot be read"):
        heard(lying, nursery=nursery)


def in_no_time(m4a: bytes) -> bytes:
    """Every packet lasts one tick instead of 1024."""
    made = bytearray(m4a.replace(b"edts", b"free"))
    at = made.index(b"stts") + 8
    (count,) = struct.unpack_from(">I", made, at)
    for entry in range(count):
        struct.pack_into(">I", made, at + 8 + 8 * entry, 1)
    return bytes(made)


def test_a_playlist_in_the_clothes_of_sound_opens_nothing(tmp_path, nursery):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(tones(2.0)[0] * 20_000))
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"RIFF\x00\x00\x00\x00WAVE\n#EXTM3U\n#EXTINF:2,\nfile://{secret}\n",
        f"fLaC\nffconcat version 1.0\nfile '{secret}'\n",
        f"OggS#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1/{secret}\n",
    ]
    for playlist in playlists:
        assert isinstance(refusal_of(playlist.encode("latin-1"), nursery), InvalidInput)


@pytest.mark.parametrize("form", ["url ", "alis"])
def test_a_file_that_names_another_file_does_not_get_it(form, tmp_path, nursery):
    secret = tmp_path / "secret.m4a"
    whole = file_of("m4a")
    secret.write_bytes(whole)
    outside = with_outside_data(whole, form, str(secret))
    error = refusal_of(outside, nursery)
    assert error is None or isinstance(error, InvalidInput)
    # Whatever is heard comes from the file itself: without its own data there is nothing.
    emptied = outside.replace(b"mdat", b"free", 1)
    at = outside.index(b"mdat") + 4
    size = struct.unpack(">I", outside[at - 8 : at - 4])[0] - 8
    emptied = outside[:at] + bytes(size) + outside[at + size :]
    try:
        sound = joined(heard(emptied, nursery=nursery))
    except InvalidInput:
        return
    assert np.abs(sound).max(initial=0) < 0.01


def with_outside_data(data: bytes, form: str, path: str) -> bytes:
    """The data reference of an mp4 file, made to name a file."""
    at = data.index(b"dref") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    words = (f"file://{path}" if form == "url " else path).encode() + b"\x00"
    entry = struct.pack(">I4sI", 12 + len(words), form.encode(), 0) + words
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    made = bytearray(data[:at] + box + data[at + size :])
    grown = len(box) - size
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = made.index(name) - 4
        old = struct.unpack(">I", made[place : place + 4])[0]
        made[place : place + 4] = struct.pack(">I", old + grown)
    return bytes(made)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04" + bytes(99), b"<html></html>", b"\x89PNG\r\n\x1a\n" + bytes(99)]
)
def test_what_is_no_sound_never_reaches_a_decoder(data):
    with pytest.raises(InvalidInput):
        opened(data, nursery=None)


def test_tags_in_any_letters_and_covers_do_no_harm(nursery):
    """Latin-1 where UTF-8 is promised, and a picture that is none."""
    body = file_of("mp3")
    title = id3_frame(b"TIT2", b"\x03" + "Sch\xf6n".encode("latin-1"))
    cover = id3_frame(b"APIC", b"\x00image/jpeg\x00\x03\x00" + b"\xff\xd8\xff\xe0" + bytes(90))
    size = len(title) + len(cover)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, size >> 7, size & 127]) + title + cover
    start = body.index(b"\xff\xfb")
    assert refusal_of(tag + body[start:], nursery) is None


def id3_frame(name: bytes, value: bytes) -> bytes:
    return name + struct.pack(">I", len(value)) + bytes(2) + value


@pytest.mark.parametrize("rate", [1, 100, 1_999, 3_000_000_000])
def test_sampling_rates_out_of_this_world_are_refused(rate, nursery):
    file = bytearray(wav(np.zeros(4000)))
    file[24:28] = struct.pack("<I", rate)
    assert isinstance(
        refusal_of(bytes(file), nursery, max_seconds=1e6), InvalidInput | PayloadTooLarge
    )


def test_the_form_of_the_sound_may_change_on_the_way(nursery):
    low = encoded("adts", "aac", tones(2.0, 22_050), 22_050)
    high = encoded("adts", "aac", tones(2.0, 44_100, 2), 44_100)
    sound = joined(heard(low + high, nursery=nursery))
    assert len(sound) / RATE == pytest.approx(4.1, abs=0.2)
