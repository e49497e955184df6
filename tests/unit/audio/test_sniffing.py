"""Which uploads are taken for sound: by their first bytes, never by what they are called."""

from __future__ import annotations

import random

import pytest

from onebox.audio.decoding.sniffing import sniff

# 128 kbit/s at 44.1 kHz: 417 bytes.
MP3_FRAME = bytes.fromhex("fffb9000") + bytes(413)
ADTS_FRAME = bytes.fromhex("fff1508002002c") + bytes(9)  # 16 bytes
ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)


def kind(data: bytes) -> str | None:
    found = sniff(data)
    return found.demuxer if found else None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", "aiff"),
        (b"FORM\x00\x00\x00\x00AIFCCOMM", "aiff"),
        (b"fLaC\x00\x00\x00\x22", "flac"),
        (b"OggS\x00\x02", "ogg"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86", "matroska"),
        (b"\x00\x00\x00\x20ftypisom", "mov"),
        (MP3_FRAME * 2, "mp3"),
        (MP3_FRAME, "mp3"),
        (bytes(100) + MP3_FRAME * 2, "mp3"),
        (ID3 + MP3_FRAME * 2, "mp3"),
        (ID3 + ID3 + MP3_FRAME * 2, "mp3"),
        (ID3 + b"fLaC\x00\x00\x00\x22", "flac"),
        (ADTS_FRAME * 3, "aac"),
        (ID3 + ADTS_FRAME * 3, "aac"),
    ],
)
def test_sound_is_known_by_its_first_bytes(data, expected):
    assert kind(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xfb",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"[playlist]\nFile1=http://example.com/a.mp3\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"PK\x03\x04" + bytes(60),
        b"<!doctype html><html></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(60),
        b"GIF89a" + bytes(60),
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"%PDF-1.7\n",
        b"\x7fELF" + bytes(60),
        b"FLV\x01" + bytes(60),
        b"\x00\x00\x01\xba" + bytes(60),
        b"G" * 400,
        b"#!AMR\n" + bytes(60),
        ID3,
        ID3[:12],
        MP3_FRAME + b"no frame follows",
        bytes(5000) + MP3_FRAME * 2,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_everything_else_is_refused(data):
    assert sniff(data) is None


def test_noise_is_refused():
    chance = random.Random(7)
    assert all(sniff(chance.randbytes(3000)) is None for _ in range(200))


def test_each_kind_has_decoders_of_its_own():
    assert sniff(b"fLaC\x00\x00\x00\x22").codecs == ("flac",)
    assert "aac" not in sniff(b"OggS\x00\x02").codecs
