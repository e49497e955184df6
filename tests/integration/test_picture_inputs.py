"""Every kind of odd file that a client may send as a picture, through the whole server."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.support.editing import (
    HOLE,
    QUICK,
    SIZE,
    data_url,
    drawn,
    edit,
    photo,
    refusal,
    vary,
    white_hole,
    with_hole,
)
from tests.support.pictures import picture as opened
from tests.unit.imaging.files import ORIENTATION, animated, file_of, picture, png, turned

UNREADABLE = "cannot be read; send a whole PNG, JPEG or WebP file"
ANIMATED = "is animated and has 3 frames"
SMALL = "each side needs at least 8 pixels"
BOMB = "has more than 50000000 pixels; send a smaller one"
GOOD = photo()
SIXTEEN_BITS = Image.fromarray((np.arange(80 * 96).reshape(80, 96) * 8).astype(np.uint16))
TRANSPOSED = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
REFUSED = {
    "nothing": (b"", "is empty"),
    "zeros": (bytes(1000), UNREADABLE),
    "gif": (file_of(picture(), "GIF"), UNREADABLE),
    "bmp": (file_of(picture(), "BMP"), UNREADABLE),
    "tiff": (file_of(picture(), "TIFF"), UNREADABLE),
    "ico": (file_of(picture(), "ICO"), UNREADABLE),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', UNREADABLE),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), UNREADABLE),
    "pdf": (b"%PDF-1.7\n", UNREADABLE),
    "gif that ends as png": (file_of(picture(), "GIF") + GOOD, UNREADABLE),
    "animated png": (animated("PNG"), ANIMATED),
    "animated webp": (animated("WEBP"), ANIMATED),
    "1x1": (photo((1, 1)), SMALL),
    "1x5000": (photo((1, 5000)), SMALL),
    "10x5000": (photo((10, 5000)), "one side may be at most 100 times the other"),
    "bomb": (png((60_000, 60_000), 8, 2), BOMB),
    "small bomb": (png((8_000, 8_000), 8, 2), "at most 50000000 pixels are read"),
    "parts without end": (GOOD[:-12] + b"\0\0\0\0abCd\0\0\0\0" * 20_001, "more than 20000 parts"),
    "png cut in its header": (GOOD[:30], UNREADABLE),
    "png cut in its pixels": (GOOD[:-60], UNREADABLE),
    "jpeg cut short": (file_of(picture(size=(300, 200)), "JPEG")[:-400], UNREADABLE),
    "webp cut short": (file_of(picture(size=(300, 200)), "WEBP")[:-40], UNREADABLE),
}
# With the value of the corner at the top left where that is not the picture's own.
TAKEN = {
    "webp": file_of(picture(size=SIZE), "WEBP", lossless=True),
    "jpeg": file_of(picture(size=SIZE), "JPEG"),
    "progressive": file_of(picture(size=SIZE), "JPEG", progressive=True),
    "cmyk": file_of(picture("CMYK", SIZE), "JPEG"),
    "grey": file_of(picture("L", SIZE)),
    "grey with alpha": file_of(picture("LA", SIZE)),
    "one bit": file_of(picture("1", SIZE)),
    "palette": file_of(picture("P", SIZE)),
    "palette with a transparent shade": file_of(picture("P", SIZE), transparency=3),
    "16 bits of grey": file_of(SIXTEEN_BITS),
    "16 bits of colour": png(SIZE, 16, 2, b"\1\2\3\4\5\6" * 96),
    "16 bits with alpha": png(SIZE, 16, 6, b"\1\2\3\4\5\6\7\x80" * 96),
    "a second picture": file_of(
        picture(size=SIZE), "MPO", save_all=True, append_images=[picture(size=SIZE)]
    ),
    "something behind it": GOOD + b"PK\3\4" + bytes(500),
    "broken exif": file_of(
        picture(size=SIZE), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1\x12\0\3" * 9
    ),
}


def outside(values: np.ndarray, box: tuple[int, int, int, int] = HOLE) -> np.ndarray:
    """The values with nothing in the hole."""
    left, top, right, bottom = box
    kept = values.copy()
    kept[top:bottom, left:right] = 0
    return kept


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_fitting_picture_is_a_400_wherever_it_is_sent(
    drawing: httpx.Client, kind: str
) -> None:
    raw, reason = REFUSED[kind]
    answers = [edit(drawing, raw), edit(drawing, raw, with_hole()), edit(drawing, GOOD, raw)]
    answers.append(vary(drawing, raw))
    answers.append(edit(drawing, GOOD, raw, stream="true", mask_mode="luminance"))
    assert [refusal(answer)[0] for answer in answers] == ["image", "image", "mask", "image", "mask"]
    assert all(reason in refusal(answer)[1] for answer in answers)


@pytest.mark.parametrize(
    ("task", "field"),
    [("image-to-image", "images"), ("variations", "image"), ("upscale", "image")],
)
def test_the_tasks_own_routes_refuse_them_too(drawing: httpx.Client, task: str, field: str) -> None:
    for raw, _ in REFUSED.values():
        url = data_url(raw)
        body = QUICK | {"strength": 1, field: [url] if field == "images" else url}
        answer = drawing.post(f"/v1/tasks/{task}", json=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("kind", TAKEN)
def test_common_kinds_are_edited_and_keep_what_is_not_masked(
    drawing: httpx.Client, kind: str
) -> None:
    with Image.open(io.BytesIO(TAKEN[kind])) as file:
        known = file.mode in ("RGB", "L", "1", "P") and "transparency" not in file.info
        original = np.asarray(file.convert("RGB"))
    (values,) = drawn(edit(drawing, TAKEN[kind], with_hole()))
    assert values.shape == (80, 96, 3)
    assert (values[22:58, 22:58] != original[22:58, 22:58]).any()
    if known:
        assert (outside(values) == outside(original)).all()


def test_the_masked_part_of_a_file_that_was_sent_before_is_drawn_by_itself(
    drawing: httpx.Client,
) -> None:
    size = (300, 200)
    original = picture(size=size).convert("RGB")
    sent = {"file": ("photo.png", file_of(original))}
    stored = drawing.post("/v1/files", files=sent, data={"purpose": "vision"}).json()
    body = {"images": [{"file_id": stored["id"]}], "mask": data_url(with_hole(size))}
    answer = drawing.post("/v1/images/edits", json=QUICK | body | {"inpaint_area": "masked"})
    (values,) = drawn(answer)
    assert (values[22:58, 22:58] != np.asarray(original)[22:58, 22:58]).any()
    assert (outside(values) == outside(np.asarray(original))).all()
    body["images"] = [{"file_id": "file_" + "0" * 26}]
    assert drawing.post("/v1/images/edits", json=QUICK | body).status_code == 404


def test_alpha_outside_the_mask_stays_and_jpeg_has_white_there(drawing: httpx.Client) -> None:
    image = picture("RGBA", SIZE)
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    png_answer, jpeg_answer = (
        edit(drawing, file_of(image), with_hole(), output_format=kind) for kind in ("png", "jpeg")
    )
    kept = opened(png_answer.json()["data"][0]["b64_json"])
    assert kept.mode == "RGBA"
    assert (outside(np.asarray(kept)) == outside(np.asarray(image))).all()
    assert drawn(jpeg_answer)[0][0].min() > 240  # the first row is wholly transparent


@pytest.mark.parametrize("number", TRANSPOSED)
def test_a_mask_lies_on_the_upright_picture(drawing: httpx.Client, number: int) -> None:
    """Whether it was made for what one sees, or comes from the same camera."""
    photo = turned(number)
    with Image.open(io.BytesIO(photo)) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB")
    box = (10, 10, 30, 30)
    mask = Image.open(io.BytesIO(with_hole(upright.size, box)))
    exif = Image.Exif()
    exif[ORIENTATION] = number
    as_seen = file_of(mask)
    as_shot = file_of(mask.transpose(TRANSPOSED[number]), exif=exif)
    for sent in (as_seen, as_shot):
        (values,) = drawn(edit(drawing, photo, sent))
        assert (outside(values, box) == outside(np.asarray(upright), box)).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "CMYK"])
def test_a_luminance_mask_of_any_kind_means_the_same(drawing: httpx.Client, mode: str) -> None:
    (expected,) = drawn(edit(drawing, GOOD, with_hole()))
    mask = file_of(white_hole().convert(mode), "JPEG" if mode == "CMYK" else "PNG", **sharp(mode))
    (values,) = drawn(edit(drawing, GOOD, mask, mask_mode="luminance"))
    assert (values == expected).all()


def sharp(mode: str) -> dict[str, Any]:
    return {"quality": 100} if mode == "CMYK" else {}


@pytest.mark.parametrize(
    ("mask", "fields", "reason"),
    [
        (file_of(white_hole()), {}, "no alpha channel"),
        (with_hole(box=(0, 0, 0, 0)), {}, "nothing to edit"),
        (file_of(Image.new("L", SIZE)), {"mask_mode": "luminance"}, "nothing to edit"),
        (with_hole((80, 96)), {}, "another shape"),
        (with_hole((96, 84)), {}, "another shape"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused(
    drawing: httpx.Client, mask: bytes, fields: dict[str, Any], reason: str
) -> None:
    param, message = refusal(edit(drawing, GOOD, mask, **fields))
    assert param == "mask"
    assert reason in message


@pytest.mark.parametrize("factor", [0.5, 2, 10])
def test_a_mask_of_another_size_is_brought_to_the_pictures(
    drawing: httpx.Client, factor: float
) -> None:
    (expected,) = drawn(edit(drawing, GOOD, with_hole()))
    width, height, *_ = (int(side * factor) for side in SIZE)
    left, top, right, bottom = (int(side * factor) for side in HOLE)
    mask = with_hole((width, height), (left, top, right, bottom))
    assert (drawn(edit(drawing, GOOD, mask))[0] == expected).all()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("http://127.0.0.1:1/a.png", "links to pictures are off"),
        ("https://example.com/a.png", "links to pictures are off"),
        ("file:///etc/passwd", "links to pictures are off"),
        ("/etc/passwd", "links to pictures are off"),
        ("data:text/html;base64,AAAA", "begins with data:image/"),
        ("data:image/png;base64,!!!!", "the data URL is not valid base64"),
        ("data:image/png,abc", "expected a base64 data URL"),
        (None, "expected a data URL"),
        ([["x"]], "expected a data URL"),
        ({"file_id": 7}, "valid string"),
        ({"data": "AAAA"}, "expected a data URL"),
        ([data_url(GOOD)] * 17, "at most 16"),
        ([data_url(GOOD)] * 16, "takes 1 picture at most, and 16 were sent"),
    ],
)
def test_what_json_may_not_name_is_refused(drawing: httpx.Client, sent: Any, reason: str) -> None:
    body = QUICK | {"image": [sent] if sent is None else sent}
    param, message = refusal(drawing.post("/v1/images/edits", json=body))
    assert param.startswith("image")
    assert reason in message
    assert not message.startswith("Value error")
