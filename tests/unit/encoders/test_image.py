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


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_quality_is_what_the_client_asked_for(image_format):
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    small, large = (encoded(image_format, noise, quality).data for quality in (5, 95))
    assert len(small) < len(large)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_a_picture_with_transparency_can_have_any_format(image_format):
    image = opened(encoded(image_format, picture("RGBA")))
    assert image.size == (32, 16)


def test_a_picture_is_png_unless_asked_otherwise():
    assert ImageEncoder().encode(Output("image", picture())).media_type == "image/png"
