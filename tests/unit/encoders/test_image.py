from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from onebox.core.results import Output
from onebox.encoders.image import ImageEncoder

PROMPTS = ["a red circle", "ein grüner Kreis — 日本 🎨", "line\nbreak \"quote' \\", "x" * 4000]


def picture(mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((32, 16)).convert(mode)


def encoded(image_format, image=None, quality=90, **embedded):
    options = {"format": image_format, "quality": quality}
    output = Output("image", image or picture(), options, {"seed": 7}, embedded)
    return ImageEncoder().encode(output)


def opened(artifact):
    image = Image.open(io.BytesIO(artifact.data))
    image.load()
    return image


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_png_is_the_picture_and_carries_its_prompt(prompt):
    artifact = encoded("png", prompt=prompt, seed="7")
    image = opened(artifact)
    assert (artifact.media_type, artifact.meta, image.format) == ("image/png", {"seed": 7}, "PNG")
    assert image.text == {"prompt": prompt, "seed": "7"}
    assert image.tobytes() == picture().tobytes()


@pytest.mark.parametrize("prompt", [*PROMPTS, "🎨" * 4000])
@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_jpeg_and_webp_carry_it_as_json(image_format, prompt):
    artifact = encoded(image_format, prompt=prompt, negative_prompt=prompt)
    image = opened(artifact)
    assert (artifact.media_type, image.format) == (f"image/{image_format}", image_format.upper())
    description = image.getexif()[0x010E]
    # EXIF knows no encoding: what does not fit as ASCII is UTF-8, which Pillow reads as Latin-1.
    assert json.loads(description.encode("latin-1"))["prompt"] == prompt


@pytest.mark.parametrize("prompt", ["🎨" * 10_000, "\0" * 10_000])
def test_what_no_jpeg_can_hold_is_left_out_of_the_longest_texts(prompt):
    embedded = {"prompt": prompt, "negative_prompt": prompt[:9_000], "seed": "7"}
    described = {
        image_format: opened(encoded(image_format, **embedded)).getexif()[0x010E].encode("latin-1")
        for image_format in ("jpeg", "webp")
    }
    assert json.loads(described["webp"]) == embedded
    kept = json.loads(described["jpeg"])
    assert kept["seed"] == "7"
    assert all(prompt.startswith(kept[name]) for name in ("prompt", "negative_prompt"))
    assert len(kept["prompt"]) == 5_000


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_quality_is_what_the_client_asked_for(image_format):
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    small, large = (encoded(image_format, noise, quality).data for quality in (5, 95))
    assert len(small) < len(large)


@pytest.mark.parametrize(
    ("image_format", "expected"),
    [("png", (200, 0, 0, 0)), ("webp", (200, 0, 0, 0)), ("jpeg", (255, 255, 255))],
)
def test_alpha_stays_and_is_white_under_jpeg(image_format, expected):
    image = opened(encoded(image_format, Image.new("RGBA", (32, 16), (200, 0, 0, 0))))
    assert image.getpixel((5, 5)) == expected


def test_half_transparent_is_half_white_under_jpeg():
    half = Image.new("RGBA", (32, 16), (0, 0, 0, 128))
    assert opened(encoded("jpeg", half, 100)).getpixel((5, 5)) == (127, 127, 127)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_colour_profile_goes_along(image_format, mode):
    image = picture(mode)
    image.info = {"icc_profile": b"a profile"}
    assert opened(encoded(image_format, image)).info["icc_profile"] == b"a profile"


def test_a_picture_is_png_unless_asked_otherwise():
    assert ImageEncoder().encode(Output("image", picture())).media_type == "image/png"
