"""u2netp as a person has it: a photo sent, the cup cut out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from onebox.starter.catalogue import U2NETP
from tests.support.server import running_server
from tests.support.starter import u2netp_folder

PHOTOS = Path(__file__).parents[1] / "data" / "cutouts"
CUP = PHOTOS / "coffee.png"
MODEL = U2NETP.folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("cutouts")
    with running_server(folder / "data", u2netp_folder()) as server, server.client() as client:
        yield client


def cut(client: httpx.Client, raw: bytes, **fields: str) -> httpx.Response:
    return client.post(
        "/v1/tasks/cutout",
        data={"model": MODEL, **fields},
        files={"image": ("photo.png", raw)},
        headers={"Accept": "image/*"},
    )


def test_the_cup_is_cut_out_with_its_own_pixels(client: httpx.Client) -> None:
    answer = cut(client, CUP.read_bytes())
    assert answer.headers["content-type"] == "image/png", answer.text[:300]
    image, photo = Image.open(io.BytesIO(answer.content)), Image.open(CUP).convert("RGB")
    assert image.mode == "RGBA"
    assert image.convert("RGB").tobytes() == photo.tobytes()
    ours = np.asarray(image.getchannel("A")) >= 128
    drawn = np.asarray(Image.open(PHOTOS / "coffee_mask.png").convert("L")) >= 128
    assert (ours & drawn).sum() / (ours | drawn).sum() > 0.95


def test_the_answer_and_the_metrics_say_how_sure_the_model_was(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/tasks/cutout",
        data={"model": MODEL, "output": "matte"},
        files={"image": ("photo.png", CUP.read_bytes())},
        headers={"Accept": "application/json"},
    )
    (output,) = answer.raise_for_status().json()["outputs"]
    assert output["confidence"] > 0.95
    assert 0.2 < output["edge_sharpness"] < 0.8
    page = client.get("/metrics").text
    assert f'onebox_prediction_confidence_count{{model="{MODEL}",task="cutout"}}' in page


@pytest.mark.parametrize(
    ("fields", "raw", "param"),
    [
        ({}, b"GIF89a", "image"),
        ({}, CUP.read_bytes()[:3000], "image"),
        ({"labels": "hat"}, CUP.read_bytes(), "labels"),
    ],
)
def test_what_cannot_be_cut_out_is_refused(
    client: httpx.Client, fields: dict[str, str], raw: bytes, param: str
) -> None:
    answer = cut(client, raw, **fields)
    assert answer.status_code == 422, answer.text[:300]
    assert answer.json()["error"]["param"] == param
