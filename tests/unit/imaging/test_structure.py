from __future__ import annotations

import pytest
from PIL import Image

from onebox.core.errors import InvalidInput
from onebox.imaging.opening import open_picture, probe
from onebox.imaging.structure import MAX_PARTS, MAX_SCANS, has_too_many_scans, is_endless
from tests.unit.imaging.files import animated, chunk, file_of, picture

PNG = file_of(picture())
JPEG = file_of(picture(), "JPEG")
WEBP = file_of(picture(), "WEBP")
PROGRESSIVE = file_of(picture(), "JPEG", progressive=True)


def stuffed(raw: bytes, at: int, part: bytes, times: int = MAX_PARTS) -> bytes:
    return raw[:at] + part * times + raw[at:]


def scanned(times: int) -> bytes:
    """The last pass over the pixels once more, so many times."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    return stuffed(PROGRESSIVE, -2, PROGRESSIVE[last:-2], times)


@pytest.mark.parametrize("raw", [PNG, JPEG, WEBP, PROGRESSIVE, animated("MPO"), b"", b"\xff\xd8"])
def test_common_files_are_neither(raw):
    assert not is_endless(raw)
    assert not has_too_many_scans(raw)


@pytest.mark.parametrize(
    "raw",
    [
        stuffed(PNG, 33, chunk(b"tEXt", b"a\0b")),
        stuffed(PNG, -12, chunk(b"abCd", b"")),
        stuffed(JPEG, 2, b"\xff\xe5\x00\x02"),
        stuffed(JPEG, 2, b"\xff\xfe\x00\x00"),
        stuffed(JPEG, 2, b"\xff"),
        stuffed(JPEG, 2, b"A"),
        stuffed(JPEG, 2, b"\xff\xd0"),
        stuffed(WEBP, len(WEBP), b"JUNK\0\0\0\0"),
        stuffed(WEBP, 12, b"JUNK\1\0\0\0x\0"),
    ],
    ids=[
        "text",
        "behind the pixels",
        "application",
        "comment",
        "filling",
        "junk",
        "restarts",
        "behind a webp",
        "in a webp",
    ],
)
def test_a_file_of_endless_parts_is_refused_before_pillow_sees_it(raw):
    for read in (probe, open_picture):
        with pytest.raises(InvalidInput, match=f"more than {MAX_PARTS} parts; save it anew"):
            read(raw, "image")


def test_a_thousand_parts_are_nothing():
    raw = stuffed(PNG, 33, chunk(b"abCd", b"x"), 1000)
    assert open_picture(raw, "image").tobytes() == picture().tobytes()


def test_a_jpeg_of_too_many_passes_is_refused():
    with pytest.raises(InvalidInput, match=f"more than {MAX_SCANS} passes; save it anew"):
        open_picture(scanned(MAX_SCANS), "image")


def test_some_more_passes_are_decoded():
    assert open_picture(scanned(20), "image").size == (50, 40)


def test_what_stands_behind_the_picture_is_not_counted():
    """Phones append films and second pictures, in which anything may stand."""
    raw = JPEG + b"\xff\xda\x00\x02" * (MAX_SCANS + 1)
    assert not has_too_many_scans(raw)
    assert open_picture(raw, "image").size == (50, 40)


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_file_cut_short_anywhere_ends_the_count(cut):
    for raw in (JPEG[:-cut], JPEG[:cut], PROGRESSIVE[:-cut], PNG[:cut], PNG[:-cut]):
        assert not is_endless(raw)
        assert not has_too_many_scans(raw)


def test_a_segment_of_no_length_does_not_stop_the_walk():
    noise = Image.effect_noise((64, 64), 90)
    raw = file_of(noise, "JPEG")
    broken = stuffed(raw, 2, b"\xff\xe5\x00\x00", 3)
    assert not is_endless(broken)
