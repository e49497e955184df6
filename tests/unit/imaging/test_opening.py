from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, ImageChops, ImageCms

from onebox.core.errors import InvalidInput
from onebox.imaging import opening
from onebox.imaging.opening import PictureFacts, open_picture, open_pictures, probe
from tests.unit.imaging.files import animated, file_of, picture, png, turned

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]


def corner(raw, **how):
    return open_picture(raw, "image", **how).getpixel((0, 0))


def refusal(raw):
    """What both say: the gateway by the header, the worker when it decodes."""
    with pytest.raises(InvalidInput) as told:
        probe(raw, "image")
    with pytest.raises(InvalidInput) as again:
        open_picture(raw, "image")
    assert told.value.message == again.value.message
    assert told.value.param == again.value.param == "image"
    return told.value.message


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "WEBP")],
)
def test_common_pictures_become_rgb(mode, kind):
    raw = file_of(picture(mode), kind)
    image = open_picture(raw, "image", alpha=True)
    assert (image.mode, image.size) == ("RGB", (50, 40))
    assert probe(raw, "image") == PictureFacts(kind.lower(), 50, 40, has_alpha=False)


def test_a_lossless_picture_keeps_its_pixels():
    assert open_picture(file_of(picture()), "image").tobytes() == picture().tobytes()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_kept_where_it_is_asked_for_and_white_elsewhere(kind):
    raw = file_of(Image.new("RGBA", (16, 16), (200, 0, 0, 0)), kind, lossless=True, exact=True)
    assert probe(raw, "image").has_alpha
    assert corner(raw, alpha=True) == (200, 0, 0, 0)
    assert corner(raw) == (255, 255, 255)


def test_a_transparent_shade_is_alpha_too():
    raw = file_of(Image.new("L", (16, 16), 7), transparency=7)
    assert probe(raw, "image").has_alpha
    assert corner(raw, alpha=True)[3] == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(number, kind):
    raw, how = turned(number, kind), opening._TURNS.get(number)
    stored = Image.open(io.BytesIO(raw)).convert("RGB")
    upright = stored if how is None else stored.transpose(Image.Transpose[how])
    opened, facts = open_picture(raw, "image"), probe(raw, "image")
    assert opened.size == (facts.width, facts.height) == upright.size
    assert ImageChops.difference(opened, upright).getbbox() is None


def test_exif_that_does_not_parse_turns_nothing():
    raw = file_of(picture(), "JPEG", exif=b"Exif\0\0nonsense")
    assert open_picture(raw, "image").size == (50, 40)


def test_a_png_is_probed_without_being_decoded():
    """Its pixels are missing here; and EXIF behind them would be found only by decoding."""
    assert probe(png((50, 40), 8, 2), "image") == PictureFacts("png", 50, 40, has_alpha=False)


def test_cmyk_becomes_rgb():
    red, green, blue = corner(file_of(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG"))
    assert red < 20
    assert green > 230
    assert blue > 230


@pytest.mark.parametrize(
    ("colour", "parts", "expected"),
    [(0, 1, (156, 156, 156)), (2, 3, (156, 156, 156)), (4, 2, (156,) * 4), (6, 4, (156,) * 4)],
)
def test_of_16_bits_the_high_8_stay(colour, parts, expected):
    raw = png((16, 16), 16, colour, struct.pack(">H", 40000) * parts * 16)
    assert corner(raw, alpha=True) == expected


@pytest.mark.parametrize(("colour", "parts"), [(0, 1), (2, 3)])
def test_a_transparent_shade_of_16_bits_is_alpha(colour, parts):
    shade = struct.pack(">H", 40000) * parts
    raw = png((16, 16), 16, colour, shade * 16, (b"tRNS", shade))
    assert corner(raw, alpha=True)[3] == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused_with_their_number_of_frames(kind):
    assert "is animated and has 3 frames" in refusal(animated(kind))


def test_of_a_photo_with_a_second_picture_the_first_counts():
    raw = animated("MPO", frames=2)
    assert probe(raw, "image").format == "jpeg"
    assert open_picture(raw, "image").size == (50, 40)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cannot be read; send a whole PNG, JPEG or WebP file"),
        (b"<svg/>", "cannot be read"),
        (file_of(picture(), "GIF"), "cannot be read"),
        (file_of(picture(), "TIFF"), "cannot be read"),
        (file_of(picture(), "BMP"), "cannot be read"),
        (file_of(picture())[:30], "cannot be read"),
        (file_of(picture(size=(1, 1))), "is 1x1; each side needs at least 8 pixels"),
        (file_of(picture(size=(2000, 10))), "is 2000x10; one side may be at most 100 times"),
        (png((8000, 8000), 8, 2), "is 8000x8000; at most 50000000 pixels are read"),
        (png((60000, 60000), 8, 2), "has more than 50000000 pixels"),
    ],
    ids=range(10),
)
def test_other_files_are_refused_by_their_header(raw, reason):
    assert reason in refusal(raw)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_short_is_refused(kind):
    raw = file_of(picture(size=(300, 200)), kind)
    with pytest.raises(InvalidInput, match="the mask cannot be read") as told:
        open_picture(raw[: len(raw) // 2], "mask", name="the mask")
    assert told.value.param == "mask"


def test_what_stood_beside_the_pixels_is_left_behind():
    """A place where a photo was taken must not go out with what is made of it."""
    exif = Image.Exif()
    exif[0x010E] = "my garden"
    raw = file_of(picture(), "JPEG", exif=exif, comment=b"home", xmp=b"<x/>")
    assert open_picture(raw, "image").info == {}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_profile_of_rgb_stays_with_the_pixels(mode):
    opened = open_picture(file_of(picture(mode), icc_profile=SRGB), "image", alpha=True)
    assert opened.info == {"icc_profile": SRGB}


def test_another_profile_does_not():
    assert open_picture(file_of(picture("L"), icc_profile=GREY_PROFILE), "image").info == {}


def test_pictures_are_opened_until_they_are_too_many_together(monkeypatch):
    monkeypatch.setattr(opening, "MAX_TOTAL_PIXELS", 4000)
    raw = file_of(picture())
    assert len(open_pictures([raw] * 2, "image")) == 2
    # Those after the third are not looked at: they would be refused for another reason.
    with pytest.raises(InvalidInput, match="up to number 2 have more than 4000 pixels"):
        open_pictures([raw] * 3 + [b""] * 29, "image")


def test_the_picture_at_fault_is_named_by_its_number():
    with pytest.raises(InvalidInput, match="picture 1 cannot be read"):
        open_pictures([file_of(picture()), b""], "image")
