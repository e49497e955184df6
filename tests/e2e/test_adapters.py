"""LoRAs and textual inversions beside the model that ships with the project, over HTTP."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from safetensors.torch import load_file, save_file

from onebox.starter.shapes_score import dominant_colours
from tests.support.pictures import picture, pixels
from tests.support.server import ADMIN_KEY, ROOT, Server, running_server

APP = (sys.executable, str(ROOT / "app.py"))
MODEL = "onebox-shapes"
TO_K = "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k"
SDXL = {
    f"unet.{TO_K}.lora_A.weight": torch.zeros(2, 2048),
    f"unet.{TO_K}.lora_B.weight": torch.zeros(128, 2),
}


def ink(unet: Path) -> dict[str, Any]:
    """A LoRA of random numbers for every projection of the attention, as kohya's trainer saves."""
    tensors, rows = {}, torch.Generator().manual_seed(1)
    for name, weight in load_file(unet).items():
        if ".attn" in name and name.endswith(".weight") and weight.ndim == 2:
            key = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            outputs, inputs = weight.shape
            tensors[f"{key}.lora_down.weight"] = torch.randn(4, inputs, generator=rows) * 0.2
            tensors[f"{key}.lora_up.weight"] = torch.randn(outputs, 4, generator=rows) * 0.2
            tensors[f"{key}.alpha"] = torch.tensor(4.0)
    return tensors


def vectors_of(model: Path, word: str) -> torch.Tensor:
    """What the model's text encoder has for a word."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    ids = tokenizer(word, add_special_tokens=False).input_ids
    weights = load_file(model / "text_encoder" / "model.safetensors")
    return next(w for name, w in weights.items() if name.endswith("token_embedding.weight"))[ids]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("adapters")
    models = root / "models"
    shutil.copytree(ROOT / "ai-models" / MODEL, models / MODEL)
    (models / "loras").mkdir()
    weights = models / MODEL / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(ink(weights), models / "loras" / "ink.safetensors")
    save_file(SDXL, models / "loras" / "large.safetensors")
    # As A1111 saves one: a pickle, which is converted when it is first named.
    embedding = {"string_to_token": {"*": 265}, "name": "leaf", "step": 3}
    embedding["string_to_param"] = {"*": vectors_of(models / MODEL, "green").clone()}
    torch.save(embedding, models / "leaf.pt")
    with running_server(root / "data", models, command=APP) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def draw(client: httpx.Client, **fields: Any) -> bytes:
    prompt = "a red circle on a blue background"
    body = {"model": MODEL, "prompt": prompt, "seed": 3, "steps": 6, "deterministic": True}
    answer = client.post("/v1/tasks/text-to-image", json={**body, **fields})
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    return bytes(pixels(output["b64_json"]).tobytes())


def test_pictures_with_and_without_a_lora_alternate_bit_for_bit(client: httpx.Client) -> None:
    clean = draw(client)
    inked = draw(client, loras=[{"model": "ink"}])
    assert inked != clean
    for _ in range(2):
        assert draw(client) == clean
        assert draw(client, loras=[{"model": "loras/ink.safetensors", "scale": 1}]) == inked
    assert draw(client, loras=[{"model": "ink", "scale": 0.5}]) not in (clean, inked)


def test_a_lora_is_listed_and_draws_nothing_alone(server: Server, client: httpx.Client) -> None:
    listed = client.get("/v1/models/loras/ink").json()
    assert (listed["kind"], listed["tasks"], listed["status"]) == ("LoRA", [], "ready")
    body = {"model": "loras/ink", "prompt": "a star"}
    answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 400
    assert "it is a LoRA" in answer.json()["error"]["message"]
    with server.client(ADMIN_KEY) as admin:
        answer = admin.post("/v1/models/loras/ink/load")
    assert answer.status_code == 400
    assert "`loras`" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("lora", "status", "words"),
    [
        ("large", 400, ("loras/large is for sdxl", f"{MODEL} is sd1")),
        (MODEL, 400, ("is no lora",)),
        ("nobody", 404, ("nobody",)),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    client: httpx.Client, lora: str, status: int, words: tuple[str, ...]
) -> None:
    body = {"model": MODEL, "prompt": "a star", "loras": [{"model": lora}]}
    answer = client.post("/v1/images/generations", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, "loras")
    assert [word for word in words if word not in error["message"]] == [], error["message"]


def test_a_word_of_a_textual_inversion_draws_what_it_stands_for(server: Server) -> None:
    with server.sdk() as sdk:
        answer = sdk.images.generate(
            model=MODEL,
            prompt="a leaf star on a white background",
            extra_body={"textual_inversions": [{"model": "leaf.pt"}], "seed": 1},
        )
    assert answer.data is not None
    image = picture(answer.data[0].b64_json)
    assert dominant_colours(image.convert("RGB")) == ("green", "white")


def test_a_word_that_no_prompt_has_is_asked_for(server: Server) -> None:
    extra = {"textual_inversions": [{"model": "leaf.pt"}]}
    with server.sdk() as sdk, pytest.raises(openai.BadRequestError, match="'leaf'") as info:
        sdk.images.generate(model=MODEL, prompt="a star", extra_body=extra)
    assert info.value.param == "textual_inversions"
