"""Real edits, variations and partial images from the real model, as OpenAI's client asks."""

from __future__ import annotations

import base64
import io

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.support.pictures import apart, picture, pixels

MODEL = "onebox-shapes"
RED = "a red circle on a white background"
BLUE = "a blue circle on a white background"
SEED = {"seed": 4, "steps": 5}


@pytest.fixture(scope="module")
def drawn(server) -> bytes:
    """A red circle on white, as PNG."""
    with server.sdk() as sdk:
        answer = sdk.images.generate(model=MODEL, prompt=RED, extra_body=SEED)
    return base64.b64decode(answer.data[0].b64_json)


def png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def left_half(alpha: int, size: tuple[int, int] = (256, 256)) -> bytes:
    """A mask: white, the left half of this alpha, the rest opaque."""
    mask = Image.new("RGBA", size, (255, 255, 255, 255))
    mask.paste((255, 255, 255, alpha), (0, 0, size[0] // 2, size[1]))
    return png(mask)


def test_where_the_mask_is_transparent_and_nowhere_else_the_picture_changes(
    sdk: openai.OpenAI, drawn: bytes
) -> None:
    answer = sdk.images.edit(
        model=MODEL, image=drawn, mask=left_half(0), prompt=BLUE, extra_body=SEED
    )
    assert answer.data is not None
    before = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))
    after = pixels(answer.data[0].b64_json)
    assert np.array_equal(after[:, 128:], before[:, 128:])
    assert apart(after[:, :128], before[:, :128]) > 5


def test_the_other_meaning_of_a_mask_changes_the_same_place(
    sdk: openai.OpenAI, drawn: bytes
) -> None:
    white = Image.new("L", (256, 256))
    white.paste(255, (0, 0, 128, 256))
    masks = {"alpha": left_half(0), "luminance": png(white)}
    made = []
    for mode, mask in masks.items():
        answer = sdk.images.edit(
            model=MODEL, image=drawn, mask=mask, prompt=BLUE, extra_body={**SEED, "mask_mode": mode}
        )
        assert answer.data is not None
        made.append(pixels(answer.data[0].b64_json))
    assert np.array_equal(*made)


def test_an_edited_photo_keeps_its_own_size(sdk: openai.OpenAI, drawn: bytes) -> None:
    photo = png(Image.open(io.BytesIO(drawn)).resize((330, 200)))
    answer = sdk.images.edit(
        model=MODEL, image=photo, mask=left_half(0, (330, 200)), prompt=BLUE, extra_body=SEED
    )
    assert answer.data is not None
    assert picture(answer.data[0].b64_json).size == (330, 200)
    assert answer.size == "330x200"


def test_an_edit_without_a_mask_starts_from_the_picture(sdk: openai.OpenAI, drawn: bytes) -> None:
    made = []
    other = "a green star on a black background"
    for strength in (0.3, 1.0):
        answer = sdk.images.edit(
            model=MODEL, image=[drawn], prompt=other, extra_body={**SEED, "strength": strength}
        )
        assert answer.data is not None
        made.append(pixels(answer.data[0].b64_json))
    before = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))
    assert apart(made[0], before) < apart(made[1], before)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_variations_have_seeds_that_count_on(sdk: openai.OpenAI, drawn: bytes) -> None:
    answer = sdk.images.create_variation(
        model=MODEL, image=drawn, n=2, size="256x256", extra_body=SEED
    )
    assert answer.data is not None
    assert [item.model_extra for item in answer.data] == [{"seed": 4}, {"seed": 5}]
    one, other = (pixels(item.b64_json) for item in answer.data)
    assert apart(one, other) > 0.5


@pytest.mark.parametrize("partial_images", [0, 1, 3])
def test_partial_images_become_the_picture(sdk: openai.OpenAI, partial_images: int) -> None:
    stream = sdk.images.generate(
        model=MODEL, prompt=RED, stream=True, partial_images=partial_images, extra_body=SEED
    )
    *partial, done = list(stream)
    assert [event.partial_image_index for event in partial] == list(range(partial_images))
    last = pixels(done.b64_json)
    away = []
    for event in partial:
        shown = picture(event.b64_json)
        assert (shown.format or "").lower() == event.output_format
        away.append(apart(np.asarray(shown.convert("RGB").resize((256, 256))), last))
    assert away == sorted(away, reverse=True)
    whole = sdk.images.generate(model=MODEL, prompt=RED, extra_body=SEED)
    assert whole.data is not None
    assert np.array_equal(pixels(whole.data[0].b64_json), last)


def test_an_edit_streams_too(sdk: openai.OpenAI, drawn: bytes) -> None:
    stream = sdk.images.edit(
        model=MODEL,
        image=drawn,
        mask=left_half(0),
        prompt=BLUE,
        stream=True,
        partial_images=1,
        extra_body=SEED,
    )
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"mask": left_half(255)}, "mask"),
        ({"mask": png(Image.new("RGB", (256, 256)))}, "mask"),
        ({"mask": b"not a picture"}, "mask"),
        ({"image": b"not a picture"}, "image"),
        ({"image": png(Image.new("RGB", (1, 1)))}, "image"),
        ({"image": [png(Image.new("RGB", (64, 64)))] * 2}, "image"),
        ({"extra_body": {"strength": 0.0}}, "strength"),
        ({"extra_body": {"scheduler": "fast"}}, "scheduler"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_it(
    sdk: openai.OpenAI, drawn: bytes, change: dict[str, object], param: str
) -> None:
    asked: dict[str, object] = {"image": drawn, "prompt": BLUE, **change}
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.edit(model=MODEL, **asked)  # type: ignore[call-overload]  # wrong on purpose
    assert caught.value.param == param


def test_links_are_off_and_data_urls_work(client: httpx.Client, drawn: bytes) -> None:
    body = {"model": MODEL, "prompt": BLUE, **SEED}
    answer = client.post("/v1/images/edits", json={**body, "image": "https://example.com/a.png"})
    assert answer.status_code == 400
    assert "ONEBOX_REMOTE_MEDIA" in answer.json()["error"]["message"]
    url = "data:image/png;base64," + base64.b64encode(drawn).decode()
    by_json = client.post("/v1/images/edits", json={**body, "image": url}).json()
    files = {"image": ("a.png", drawn, "image/png")}
    by_form = client.post("/v1/images/edits", data=body, files=files).json()
    assert by_json["data"] == by_form["data"]
