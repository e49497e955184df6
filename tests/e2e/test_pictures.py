"""Real pictures from the real model, through every route that makes them."""

from __future__ import annotations

import io
import itertools

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from onebox.starter.shapes_score import dominant_colours
from tests.support.pictures import apart, picture, pixels
from tests.support.server import Server, wait_for

MODEL = "onebox-shapes"


def test_the_sdk_gets_two_green_stars_on_white(sdk: openai.OpenAI) -> None:
    answer = sdk.images.generate(
        model=MODEL, prompt="a green star on a white background", n=2, size="256x256"
    )
    assert answer.data is not None
    assert len(answer.data) == 2
    for item in answer.data:
        image = picture(item.b64_json)
        assert image.size == (256, 256)
        assert dominant_colours(image.convert("RGB")) == ("green", "white")
    assert answer.size == "256x256"
    assert answer._request_id


def test_infer_answers_every_field(client: httpx.Client) -> None:
    body = {
        "id": "r1",
        "model_id": MODEL,
        "prompt": "a red circle on a blue background",
        "seed": 42,
    }
    answer = client.post("/v1/infer", json=body).json()
    (image,) = answer.pop("images")
    assert answer.pop("processing_time") > 0
    assert answer == {
        "id": "r1",
        "model_id": MODEL,
        "prompt": body["prompt"],
        "negative_prompt": None,
        "num_inference_steps": 30,
        "guidance_scale": answer["guidance_scale"],
    }
    assert (image["seed"], image["width"], image["height"]) == (42, 256, 256)
    png = picture(image["base64"])
    assert dominant_colours(png.convert("RGB")) == ("red", "blue")
    sha256 = client.get(f"/v1/models/{MODEL}").json()["sha256"]
    assert png.info["prompt"] == body["prompt"]
    assert png.info["seed"] == "42"
    assert png.info["steps"] == "30"
    assert float(png.info["guidance_scale"]) == answer["guidance_scale"]
    assert png.info["model_sha256"] == sha256


def test_the_same_seed_is_the_same_picture_everywhere(
    client: httpx.Client, sdk: openai.OpenAI
) -> None:
    asked = {"prompt": "a yellow square on a black background"}
    infer = {
        "id": "1",
        "model_id": MODEL,
        **asked,
        "seed": 5,
        "num_images": 3,
        "num_inference_steps": 6,
    }
    several = client.post("/v1/infer", json=infer).json()["images"]
    alone = sdk.images.generate(model=MODEL, **asked, extra_body={"seed": 7, "steps": 6})
    task = {"model": MODEL, **asked, "seed": 7, "steps": 6}
    native = client.post("/v1/tasks/text-to-image", json=task).json()["outputs"]
    assert alone.data is not None
    assert [image["seed"] for image in several] == [5, 6, 7]
    assert alone.data[0].model_extra == {"seed": 7}
    one = pixels(alone.data[0].b64_json)
    assert np.array_equal(one, pixels(native[0]["b64_json"]))
    # Drawn beside others, so rounded otherwise.
    assert apart(one, pixels(several[2]["base64"])) < 0.01
    assert apart(one, pixels(several[0]["base64"])) > 1


def test_a_left_out_seed_is_chosen_and_told(client: httpx.Client) -> None:
    body = {"id": "1", "model_id": MODEL, "prompt": "x", "num_images": 2, "num_inference_steps": 1}
    first, second = (client.post("/v1/infer", json=body).json()["images"] for _ in range(2))
    assert (first[1]["seed"] - first[0]["seed"]) % 2**32 == 1
    assert first[0]["seed"] != second[0]["seed"]


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_formats_and_links(client: httpx.Client, server: Server, output_format: str) -> None:
    body = {
        "model": MODEL,
        "prompt": "a red ring on a white background",
        "response_format": "url",
        "output_format": output_format,
        "steps": 1,
    }
    answer = client.post("/v1/images/generations", json=body).json()
    assert answer["output_format"] == output_format
    url = answer["data"][0]["url"]
    with server.client(None) as anonymous:
        fetched = anonymous.get(url)
        altered = anonymous.get(url[:-2] + ("AA" if url[-2:] != "AA" else "BB"))
    assert fetched.headers["content-type"] == f"image/{output_format}"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(fetched.content)).format == output_format.upper()
    assert altered.status_code == 401


def test_bytes_by_accept(client: httpx.Client) -> None:
    body = {"prompt": "a red ring on a white background", "steps": 1, "seed": 3}
    answer = client.post("/v1/tasks/text-to-image", json=body, headers={"Accept": "image/*"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-onebox-seed"] == "3"
    assert Image.open(io.BytesIO(answer.content)).size == (256, 256)


@pytest.mark.parametrize("model", [None, "dall-e-3", "ONEBOX-SHAPES.", "prefix", "sha256"])
def test_how_a_model_may_be_named(client: httpx.Client, model: str | None) -> None:
    sha256 = wait_for(lambda: client.get(f"/v1/models/{MODEL}").json()["sha256"])
    named = {"prefix": sha256[:8], "sha256": sha256}.get(str(model), model)
    body = {"prompt": "a red ring", "steps": 1, **({"model": named} if named else {})}
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == (404 if model == "ONEBOX-SHAPES." else 200)


def test_the_sdk_raises_its_own_errors(sdk: openai.OpenAI, server: Server) -> None:
    prompt = "a red circle"
    with pytest.raises(openai.NotFoundError, match="onebox-shapes"):
        sdk.images.generate(model="onebox-shape", prompt=prompt)
    wrong_key = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong_key.images.generate(model=MODEL, prompt=prompt)


BAD_FIELDS = {
    "size": ["255x256", "0x0", "256", "99999x256", "-8x256", "4096x4096"],
    "n": [0, 11, -1, "many"],
    "seed": [-1, 2**32, 1.5],
    "steps": [0, 151],
    "guidance_scale": [-1, 31, "high"],
    "output_format": ["gif", "svg", "bmp"],
    "partial_images": [2],
    "scheduler": ["fast"],
    "loras": ["ink", [{"model": "ink"}] * 9],
    "prompt": ["", "x" * 10_001],
}


@pytest.mark.parametrize(
    ("field", "value"),
    list(itertools.chain(*([(f, v) for v in values] for f, values in BAD_FIELDS.items()))),
)
def test_a_bad_field_is_named_with_a_400(sdk: openai.OpenAI, field: str, value: object) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.generate(model=MODEL, prompt="a red circle", extra_body={field: value})
    assert caught.value.param == field
    assert caught.value.code


INFER = {"id": "1", "model_id": MODEL, "prompt": "a red circle"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"width": 3000}, "width"),
        ({"width": 248}, "width"),
        ({"height": 257}, "height"),
        ({"num_images": 5}, "num_images"),
        ({"guidance_scale": 0.9}, "guidance_scale"),
        ({"guidance_scale": 20.1}, "guidance_scale"),
        ({"num_inference_steps": 151}, "num_inference_steps"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"seed": 2**32}, "seed"),
        ({"id": None}, "id"),
        ({"model_id": ""}, "model_id"),
    ],
)
def test_infer_names_a_bad_field_with_a_422(
    client: httpx.Client, change: dict[str, object], field: str
) -> None:
    answer = client.post("/v1/infer", json={**INFER, **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)


def test_not_a_number_is_refused(client: httpx.Client) -> None:
    raw = '{"id": "1", "model_id": "onebox-shapes", "prompt": "x", "guidance_scale": NaN}'
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/infer", content=raw, headers=headers).status_code == 422


def test_the_models_page_serves_both_worlds(client: httpx.Client, sdk: openai.OpenAI) -> None:
    models = {model.id: model for model in sdk.models.list().data}
    assert set(models) == {MODEL, "onebox-shapes-motion"}
    model = models[MODEL]
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "onebox")
    assert model.model_extra is not None
    drawing = {"text-to-image", "image-to-image", "inpainting", "variations"}
    assert drawing <= set(model.model_extra["tasks"])
    plain = client.get("/v1/models").json()
    hashes = {listed.model_extra["sha256"] for listed in models.values() if listed.model_extra}
    assert {listed["id"] for listed in plain["models"]} == hashes
    assert sdk.models.retrieve(MODEL).id == MODEL
