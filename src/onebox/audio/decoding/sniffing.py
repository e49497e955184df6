"""Which container an upload is, from its first bytes. FFmpeg is told, so that it never guesses: no
playlist, script or picture can pass for sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PCM = "pcm"
_WAV_CODECS = "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_alaw pcm_mulaw"
_AIFF_CODECS = "pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_s16le pcm_f32be pcm_f64be"
_MP4_CODECS = "aac alac mp3float mp3 flac opus libopus pcm_s16le pcm_s16be pcm_s24le pcm_f32le"
_EBML_CODECS = "opus libopus vorbis flac aac mp3float mp3 pcm_s16le pcm_f32le alac"
_MP3_CODECS = "mp3float mp3 mp2float mp2"
_MAX_TAGS = 8
_SCANNED_BYTES = 4096
_MPEG_BITRATES: Mapping[tuple[bool, int], tuple[int, ...]] = {
    # (MPEG 1, layer) → kbit/s by index; "free" (0) and 15 are not taken.
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file.

    Attributes:
        demuxer: FFmpeg's name.
        codecs: FFmpeg's names of the decoders it may need.
    """

    demuxer: str
    codecs: tuple[str, ...]


_CONTAINERS: Mapping[str, str] = {
    "wav": _WAV_CODECS,
    "aiff": _AIFF_CODECS,
    "mp3": _MP3_CODECS,
    "flac": "flac",
    "ogg": "opus libopus vorbis flac",
    "mov": _MP4_CODECS,
    "matroska": _EBML_CODECS,
    "aac": "aac",
}


def sniff(data: bytes) -> Container | None:
    """The container of a file; None if it is none of those that are taken."""
    name = _by_magic(data[:16]) or _behind_tags(data)
    if name is None:
        return None
    return Container(name, tuple(_CONTAINERS[name].split()))


def _by_magic(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[4:8] == b"ftyp":
        return "mov"
    return None


def _behind_tags(data: bytes) -> str | None:
    """MPEG audio and FLAC may lie behind ID3 tags."""
    at = 0
    for _ in range(_MAX_TAGS):
        if data[at : at + 3] != b"ID3" or len(data) < at + 10:
            break
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    if data[at : at + 4] == b"fLaC":
        return "flac"
    for place in range(at, min(at + _SCANNED_BYTES, len(data) - 4)):
        if data[place] == 0xFF and (name := _mpeg(data, place)):
            return name
    return None


def _mpeg(data: bytes, at: int) -> str | None:
    """Is it the first of two frames in a row, of which kind?"""
    for name, length_of in (("mp3", _mp3_frame_length), ("aac", _adts_frame_length)):
        length = length_of(data[at : at + 6])
        if length and at + length == len(data):
            return name  # A file of a single frame.
        if length and length_of(data[at + length : at + length + 6]):
            return name
    return None


def _mp3_frame_length(header: bytes) -> int:
    """In bytes; 0 if it is no header of layer 2 or 3."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or rate == 3 or not 0 < bitrate < 15:
        return 0
    mpeg1 = version == 3
    hertz = _MPEG_RATES[rate] >> (0 if mpeg1 else 1 if version == 2 else 2)
    samples = 1152 if mpeg1 or layer == 2 else 576
    kbits = _MPEG_BITRATES[mpeg1, layer][bitrate - 1]
    return samples * kbits * 125 // hertz + (header[2] >> 1 & 1)


def _adts_frame_length(header: bytes) -> int:
    """In bytes; 0 if it is no ADTS header."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    if header[2] >> 2 & 15 > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0
