"""Subtitle files (SubRip and WebVTT) of the segments of a transcription. Light: no model is needed.

A segment is a mapping with `start` and `end` in seconds and a `text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MS_PER_HOUR = 3_600_000
MS_PER_MINUTE = 60_000


def to_srt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Numbered from 1. Empty segments are left out."""
    return "".join(
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_cues(segments), 1)
    )


def to_vtt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Empty segments are left out."""
    cues = (
        f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n\n"
        for start, end, text in _cues(segments)
    )
    return "WEBVTT\n\n" + "".join(cues)


def _cues(segments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, str]]:
    """Milliseconds and one line of text."""
    for segment in segments:
        # A blank line would end the cue, and an arrow would begin another.
        text = " ".join(segment["text"].split()).replace("-->", "->")
        start = max(0, round(segment["start"] * 1000))
        if text:
            yield start, max(start, round(segment["end"] * 1000)), text


def _time(ms: int, mark: str) -> str:
    """Hours have two digits, or as many as they need."""
    hours, rest = divmod(ms, MS_PER_HOUR)
    minutes, rest = divmod(rest, MS_PER_MINUTE)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
