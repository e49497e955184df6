from __future__ import annotations

from typing import Any

from onebox.audio.transcripts import to_srt, to_vtt


def segment(start: float, end: float, text: str) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text}


TWO = [segment(0.0, 1.5, " Hello."), segment(61.0415, 3723.5, " Good-bye.")]


def test_subrip_numbers_its_cues_and_has_commas() -> None:
    assert to_srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n"
        "2\n00:01:01,042 --> 01:02:03,500\nGood-bye.\n\n"
    )


def test_webvtt_begins_with_its_name_and_has_points() -> None:
    assert to_vtt(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello.\n\n"
        "00:01:01.042 --> 01:02:03.500\nGood-bye.\n\n"
    )


def test_nothing_said_is_a_file_without_cues() -> None:
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n\n"


def test_a_text_cannot_end_its_cue_or_begin_another() -> None:
    evil = [segment(0, 1, "a\n\n2\n00:00:01,000 --> 00:00:02,000\nb"), segment(1, 2, " \n ")]
    assert to_srt(evil).count("-->") == 1
    assert to_srt(evil).count("\n\n") == 1
    assert to_vtt(evil).count("-->") == 1


def test_webvtt_has_no_markup_of_the_text() -> None:
    assert "a &lt;b&gt; &amp; c -&gt; d" in to_vtt([segment(0, 1, "a <b> & c --> d")])
    assert "a <b> & c -> d" in to_srt([segment(0, 1, "a <b> & c --> d")])


def test_hours_need_not_fit_two_digits() -> None:
    assert "100:00:00,000 --> 100:00:00,001" in to_srt([segment(360_000, 360_000.0014, "late")])


def test_rounding_carries_and_never_ends_before_the_start() -> None:
    assert "00:01:00,000 --> 00:01:00,000" in to_srt([segment(59.9996, 59.9, "a")])
