"""Real product pictures: cut out by u2netp, with a background drawn by onebox-shapes. Persons in
garments on tiny random models: what they are made of, not how they look.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.families import tiny_image_prompts as tiny
from tests.families import tiny_models, tiny_segmenters, tiny_transformers
from tests.support.asking import nobody_waits, running_requests
from tests.support.pictures import picture, pixels
from tests.support.server import ROOT, Server, running_server, wait_for
from tests.support.starter import u2netp_folder
from tests.support.talking import ONE_THREAD, wait_until_idle

CUP = ROOT / "tests" / "data" / "cutouts" / "coffee.png"
SHAPES = {"model": "onebox-shapes", "steps": 5, "seed": 3}


def png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


PERSON, GARMENT = tiny.picture(1, (64, 96)), tiny.picture(2, (64, 64))


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that a test may add to."""
    folder = tmp_path_factory.mktemp("dropped")
    tiny_models.stable_diffusion(folder / "tiny-sd")
    return folder


@pytest.fixture(scope="module")
def shop(dropped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folders = ",".join(map(str, [ROOT / "ai-models", u2netp_folder(), dropped]))
    data = tmp_path_factory.mktemp("shop") / "data"
    with running_server(data, dropped, MODEL_DIRS=folders, **ONE_THREAD) as running:
        yield running


@pytest.fixture
def client(shop: Server) -> Iterator[httpx.Client]:
    with shop.client() as client:
        yield client


def ask(client: httpx.Client, path: str, files: dict[str, bytes], **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/images/{path}", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_product_gets_another_background_and_keeps_its_pixels(client: httpx.Client) -> None:
    photo = np.asarray(Image.open(CUP).convert("RGB"))
    body = ask(
        client,
        "backgrounds",
        {"image": CUP.read_bytes()},
        prompt="a yellow square on a blue background",
        return_mask="true",
        **SHAPES,
    )
    (item,) = body["data"]
    assert item["seed"] == 3
    assert 0.9 < item["confidence"] <= 1
    assert item["edge_sharpness"] > 0.1
    made, matte = pixels(item["b64_json"]), np.asarray(picture(body["mask"]["b64_json"]))
    assert made.shape == photo.shape
    assert np.array_equal(made[matte == 255], photo[matte == 255])
    assert 0.1 < (matte == 255).mean() < 0.6
    around = made[matte == 0].astype(int)
    # Blue was asked for, where a brown table was.
    assert np.median(around[:, 2] - around[:, 0]) > 60


def test_a_product_goes_where_it_is_wanted_on_a_canvas_of_the_wanted_shape(
    client: httpx.Client,
) -> None:
    body = ask(
        client,
        "backgrounds",
        {"image": CUP.read_bytes()},
        prompt="a white ring on a purple background",
        size="400x400",
        scale="0.5",
        position="bottom-right",
        padding="0.05",
        shadow="0.5",
        return_mask="true",
        **SHAPES,
    )
    assert body["size"] == "400x400"
    matte = picture(body["mask"]["b64_json"])
    left, top, right, bottom = matte.point([0] * 128 + [255] * 128).getbbox() or (0, 0, 0, 0)
    assert left > 170
    assert top > 170
    assert 360 < right <= 380
    assert 360 < bottom <= 380


def test_a_cut_out_keeps_its_colours_and_says_how_sure_it_is(client: httpx.Client) -> None:
    body = ask(client, "cutouts", {"image": CUP.read_bytes()}, model="u2netp")
    (item,) = body["data"]
    cut = np.asarray(picture(item["b64_json"]))
    assert cut.shape[2] == 4
    assert np.array_equal(cut[..., :3], np.asarray(Image.open(CUP).convert("RGB")))
    assert item["confidence"] > 0.9
    assert body["background"] == "transparent"


def test_a_data_url_in_json_will_do(client: httpx.Client) -> None:
    url = "data:image/png;base64," + base64.b64encode(CUP.read_bytes()).decode()
    asked = {"image": url, "model": "u2netp", "output": "matte"}
    answer = client.post("/v1/images/cutouts", json=asked)
    assert answer.status_code == 200, answer.text
    assert picture(answer.json()["data"][0]["b64_json"]).mode == "L"


def test_a_link_is_refused_where_links_are_not_allowed(client: httpx.Client) -> None:
    asked = {"person": "https://example.com/p.png", "garment": "https://example.com/g.png"}
    answer = client.post("/v1/images/try-on", json=asked)
    assert answer.status_code == 422
    assert "ONEBOX_REMOTE_MEDIA" in answer.json()["error"]["message"]


def test_a_try_on_says_what_is_missing_until_it_is_there(
    client: httpx.Client, dropped: Path
) -> None:
    files = {"person": png(PERSON), "garment": png(GARMENT)}

    def refused(**fields: Any) -> str:
        answer = client.post("/v1/images/try-on", files=files, data={"steps": 2, **fields})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == "task_not_supported"
        message: str = answer.json()["error"]["message"]
        return message

    assert "FLUX Kontext" in refused(model="u2netp")
    assert "no IP-Adapter for sd1 is installed" in refused(model="tiny-sd")
    tiny.ip_adapter(dropped / "adapter.safetensors")
    await_model(client, "adapter")
    assert "no image encoder" in refused(model="tiny-sd")
    tiny.image_encoder(dropped / "encoder")
    await_model(client, "encoder")
    assert "send a mask" in refused(model="tiny-sd")
    mask = Image.new("L", PERSON.size)
    mask.paste(255, (16, 32, 48, 72))
    files["mask"] = png(mask)
    fields = {"model": "tiny-sd", "mask_mode": "luminance", "steps": 2, "seed": 1}
    (item,) = ask(client, "try-on", files, **fields)["data"]
    made, outside = pixels(item["b64_json"]), np.asarray(mask) == 0
    assert np.array_equal(made[outside], np.asarray(PERSON)[outside])
    assert not np.array_equal(made, np.asarray(PERSON))
    # One that finds clothes makes a mask by itself.
    tiny_segmenters.segformer(dropped / "clothes", ["Background", "Upper-clothes", "Dress"])
    await_model(client, "clothes")
    del files["mask"], fields["mask_mode"]
    assert len(ask(client, "try-on", files, **fields)["data"]) == 1


def test_a_model_that_follows_instructions_dresses_without_a_mask(
    client: httpx.Client, dropped: Path
) -> None:
    tiny_transformers.kontext(dropped / "tiny-kontext")
    await_model(client, "tiny-kontext")
    files = {"person": png(PERSON), "garment": png(GARMENT)}
    fields = {"model": "tiny-kontext", "steps": 2, "seed": 1}
    body = ask(client, "try-on", files, **fields)
    assert body["size"] == "64x96"
    other = ask(client, "try-on", {**files, "garment": png(tiny.picture(5))}, **fields)
    assert not np.array_equal(
        pixels(body["data"][0]["b64_json"]), pixels(other["data"][0]["b64_json"])
    )


def await_model(client: httpx.Client, name: str) -> None:
    """Until the server has seen a model that was dropped into its folder."""
    wait_for(lambda: client.get(f"/v1/models/{name}").status_code == 200)


def test_what_is_drawn_on_nothing_comes_with_alpha_its_prompt_and_its_seeds(
    client: httpx.Client,
) -> None:
    asked = {**SHAPES, "prompt": "a red circle on a blue background", "background": "transparent"}

    def drawn(**fields: Any) -> dict[str, Any]:
        answer = client.post("/v1/images/generations", json={**asked, **fields})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    body = drawn(n=3)
    assert (body["background"], body["output_format"]) == ("transparent", "png")
    assert [item["seed"] for item in body["data"]] == [3, 4, 5]
    for item in body["data"]:
        made = picture(item["b64_json"])
        alpha = np.asarray(made.getchannel("A"))
        assert 0.05 < (alpha > 200).mean() < 0.9
        assert (alpha == 0).mean() > 0.1
        assert made.info["seed"] == str(item["seed"])
        assert made.info["prompt"] == asked["prompt"]
        assert item["confidence"] > 0.5
    webp = picture(drawn(output_format="webp")["data"][0]["b64_json"])
    assert (webp.format, webp.mode) == ("WEBP", "RGBA")
    refusal = client.post("/v1/images/generations", json={**asked, "output_format": "jpeg"})
    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "background")


def test_the_parts_of_a_stream_are_drawn_then_cut_out(client: httpx.Client) -> None:
    asked = {**SHAPES, "prompt": "a red circle", "background": "transparent"}
    asked |= {"stream": True, "partial_images": 1}
    with client.stream("POST", "/v1/images/generations", json=asked) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    shown, made = (json.loads(line.removeprefix("data: ")) for line in lines)
    assert picture(shown["b64_json"]).mode == "RGB"
    assert made["type"] == "image_generation.completed"
    assert picture(made["b64_json"]).mode == "RGBA"
    assert made["confidence"] > 0.5


def test_a_phones_photo_stands_upright_and_keeps_its_pixels(client: httpx.Client) -> None:
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    sideways = Image.open(CUP).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    sideways.save(turned, "JPEG", quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(turned)))
    body = ask(
        client,
        "backgrounds",
        {"image": turned.getvalue()},
        prompt="a yellow square on a blue background",
        return_mask="true",
        **SHAPES,
    )
    assert body["size"] == "600x400"
    solid = np.asarray(picture(body["mask"]["b64_json"])) == 255
    made = pixels(body["data"][0]["b64_json"])
    assert solid.mean() > 0.1
    assert np.array_equal(made[solid], upright[solid])


@pytest.mark.parametrize(
    ("task", "fields", "cut_first"),
    [
        ("background", {"steps": 150}, True),
        ("text-to-image", {"steps": 4, "n": 10, "background": "transparent"}, False),
    ],
)
def test_a_client_that_leaves_in_any_part_leaves_nothing(
    client: httpx.Client, shop: Server, task: str, fields: dict[str, Any], cut_first: bool
) -> None:
    asked = {"model": "onebox-shapes", "prompt": "a red circle", **fields}
    if cut_first:
        asked["image"] = "data:image/png;base64," + base64.b64encode(CUP.read_bytes()).decode()
    for wanted in ["cut", "drawn"] if cut_first else ["drawn", "cut"]:
        parts: list[str] = []

        def is_there(parts: list[str] = parts, wanted: str = wanted) -> bool:
            request = running_requests(client).get("leaver", {"state": "", "step": 0})
            if request["step"]:
                parts.append("drawn")
            elif request["state"] == "running" and (cut_first or parts):
                parts.append("cut")
            return wanted in parts

        with nobody_waits(shop, task, "leaver", **asked):
            wait_for(is_there)
        wait_until_idle(client)
        wait_for(lambda: not list((shop.data_dir / "spool").iterdir()))
