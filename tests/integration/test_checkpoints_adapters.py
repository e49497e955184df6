"""LoRAs and what else a picture may take, through HTTP: damaged, changed, and beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.asking import Background, running_task
from tests.support.drawing import SMALL, asked, drawn, drawn_soon, error, listed, put
from tests.support.server import Server, wait_for

RANK = 2


@pytest.fixture(scope="module")
def models(pipelines: Path) -> Path:
    for number in range(8):
        put(lora(pipelines, seed=number), pipelines / "loras" / f"l{number}.safetensors")
    # A decoder for previews by its first and last layer, and nothing between them.
    ends = {"1.weight": torch.zeros(64, 4, 3, 3), "19.weight": torch.zeros(3, 64, 3, 3)}
    put(ends, pipelines / "taesd_decoder.safetensors")
    return pipelines


@pytest.fixture(scope="module")
def server(pipeline_server: Server, models: Path) -> Server:
    with pipeline_server.client() as client:
        for name in ("loras/l0", "loras/l7", "taesd_decoder"):
            wait_for(lambda name=name: listed(client, name).get("status") == "ready")
    return pipeline_server


@pytest.fixture
def client(server: Server, draughtsman: httpx.Client) -> httpx.Client:
    return draughtsman


def lora(models: Path, *, seed: int = 0, strength: float = 0.5) -> dict[str, Any]:
    """As kohya's trainer names it, for each projection of the attention."""
    tensors, rows = {}, torch.Generator().manual_seed(seed)
    for name, weight in load_file(
        models / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    ).items():
        if ".attn" in name and name.endswith(".weight") and weight.ndim == 2:
            key = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            outputs, inputs = weight.shape
            tensors[f"{key}.lora_down.weight"] = torch.randn(RANK, inputs, generator=rows)
            up = torch.randn(outputs, RANK, generator=rows) * strength
            tensors[f"{key}.lora_up.weight"] = up
    return tensors


def named(*names: str, scale: float = 1.0) -> dict[str, Any]:
    return {"loras": [{"model": name, "scale": scale} for name in names]}


def test_eight_at_once_and_each_alone_leave_nothing_behind(client: httpx.Client) -> None:
    clean = drawn(client, "sd")
    every = [f"l{number}" for number in range(8)]
    alone = {name: drawn(client, "sd", **named(name)) for name in every}
    together = drawn(client, "sd", **named(*every))
    assert len({clean, together, *alone.values()}) == 10
    assert drawn(client, "sd", **named("l0", scale=0)) == clean
    assert drawn(client, "sd", **named("l0", scale=-1)) not in (clean, alone["l0"])
    assert drawn(client, "sd", **named("l3")) == alone["l3"]
    assert drawn(client, "sd") == clean


def test_a_folder_of_peft_draws_what_its_file_does_and_lengths_change_the_picture(
    client: httpx.Client, models: Path
) -> None:
    clean, wanted = drawn(client, "sd"), drawn(client, "sd", **named("l1"))
    tensors = load_file(models / "sd" / "unet" / "diffusion_pytorch_model.safetensors")
    keys = {name.replace(".", "_"): name for name in (n.removesuffix(".weight") for n in tensors)}
    parts = {"lora_down": "lora_A", "lora_up": "lora_B"}
    own: dict[str, Any] = {}
    for key, tensor in lora(models, seed=1).items():
        layer, part, _ = key.removeprefix("lora_unet_").split(".")
        own[f"base_model.model.{keys[layer]}.{parts[part]}.weight"] = tensor
    folder = models / "loras" / "ink"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 2}')
    put(own, folder / "adapter_model.safetensors")
    wait_for(lambda: listed(client, "loras/ink").get("status") == "ready")
    assert drawn(client, "sd", **named("ink")) == wanted
    assert listed(client, "sd")["base"] == "sd1"
    lengths = {
        key.replace("lora_B.weight", "lora_magnitude_vector"): torch.ones(len(tensor))
        for key, tensor in own.items()
        if ".lora_B." in key
    }
    put({**own, **lengths}, folder / "adapter_model.safetensors")
    assert drawn(client, "sd", **named("ink")) not in (clean, wanted)
    assert drawn(client, "sd") == clean


def test_urgent_requests_in_the_middle_of_a_long_one_draw_as_if_alone(
    client: httpx.Client, in_background: Background
) -> None:
    """The long one too: all of them take turns on the same weights."""
    steps = {"steps": 120}
    wanted = [drawn(client, "sd"), drawn(client, "sd", **named("l1"))]
    long_one = drawn(client, "sd", **named("l0"), **steps)
    body = {"model": "sd", "deterministic": True, **SMALL, **named("l0"), **steps}
    with running_task(client, "text-to-image", priority="job", **body) as running:
        assert [drawn(client, "sd"), drawn(client, "sd", **named("l1"))] == wanted
        assert running.events[-1].name == "progress"  # it was still at work
        running.end()
    assert drawn(client, "sd", **named("l0"), **steps) == long_one


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nan", "values that are no numbers"),
        ("alpha", "(alpha)"),
        ("narrow", "does not fit sd"),
    ],
)
def test_a_damaged_lora_is_refused_and_named(
    client: httpx.Client, models: Path, what: str, words: str
) -> None:
    tensors = lora(models)
    first = next(iter(tensors)).removesuffix(".lora_down.weight")
    wrong = {
        "nan": {f"{first}.lora_up.weight": tensors[f"{first}.lora_up.weight"] * float("nan")},
        "alpha": {f"{first}.alpha": torch.tensor(float("inf"))},
        "narrow": {f"{first}.lora_down.weight": tensors[f"{first}.lora_down.weight"][:, :3]},
    }
    put({**tensors, **wrong[what]}, models / "loras" / f"{what}.safetensors")
    wait_for(lambda: listed(client, f"loras/{what}").get("status") == "ready")
    clean = drawn(client, "sd")
    told = error(asked(client, "sd", **named(what)))
    assert (told["param"], told["status"] < 500) == ("loras", True)
    assert words in told["message"]
    assert what in told["message"]
    assert drawn(client, "sd") == clean


def test_a_lora_that_changes_is_drawn_with_anew(client: httpx.Client, models: Path) -> None:
    file = put(lora(models, seed=20), models / "loras" / "changing.safetensors")
    wait_for(lambda: listed(client, "loras/changing").get("status") == "ready")
    before = drawn(client, "sd", **named("changing"))
    put(lora(models, seed=21), file)
    assert drawn_soon(client, "sd", **named("changing")) != before
    file.unlink()
    assert asked(client, "sd", **named("changing")).status_code == 404


def test_one_that_is_cut_short_in_the_middle_of_a_run_ends_nothing(
    server: Server, client: httpx.Client, models: Path
) -> None:
    file = put(lora(models, seed=30), models / "loras" / "cut.safetensors")
    wait_for(lambda: listed(client, "loras/cut").get("status") == "ready")
    worker = server.worker().pid
    body = {"model": "sd", **SMALL, **named("cut"), "steps": 60}
    with running_task(client, "text-to-image", **body) as running:
        file.write_bytes(b"")
        assert running.end().name == "result"
    file.unlink()
    assert server.worker().pid == worker


def test_the_default_lora_of_a_checkpoint_is_missed_by_name_until_it_is_there(
    client: httpx.Client, models: Path
) -> None:
    settings = models / "sd" / "onebox.toml"
    clean, wanted = drawn(client, "sd"), drawn(client, "sd", **named("l2", scale=0.5))
    settings.write_text('loras = [{ path = "loras/own.safetensors", scale = 0.5 }]\n')
    wait_for(lambda: asked(client, "sd").status_code == 404)
    assert "own.safetensors" in error(asked(client, "sd"))["message"]
    assert drawn(client, "sd", loras=[]) == clean
    put(lora(models, seed=2), models / "loras" / "own.safetensors")
    wait_for(lambda: asked(client, "sd").status_code == 200)
    assert drawn(client, "sd") == wanted
    settings.unlink()
    wait_for(lambda: drawn_soon(client, "sd") == clean)
    (models / "loras" / "own.safetensors").unlink()


def test_a_damaged_preview_decoder_that_nobody_named_spoils_no_request(
    client: httpx.Client,
) -> None:
    assert listed(client, "taesd_decoder")["family"] == "tiny_decoder"
    body = {"model": "sd", "prompt": "a", "size": "64x64", "steps": 2}
    answer = client.post(
        "/v1/images/generations", json={**body, "stream": True, "partial_images": 1}
    )
    assert answer.status_code == 200, answer.text
    assert "image_generation.partial_image" in answer.text
    assert "image_generation.completed" in answer.text


def test_files_of_random_tensors_are_no_models_for_pictures(
    client: httpx.Client, models: Path
) -> None:
    for number, shapes in enumerate(([(20, 20)] * 8, [(320, 4, 3, 3)] * 4, [(768,)] * 3)):
        tensors = {f"layer.{i}.weight": torch.zeros(shape) for i, shape in enumerate(shapes)}
        save_file(tensors, models / f"random{number}.safetensors")
    for number in range(3):
        name = f"random{number}"
        wait_for(lambda name=name: listed(client, name).get("status") == "ready")
        assert (listed(client, name)["kind"], listed(client, name)["tasks"]) == (None, [])
        assert error(asked(client, name))["status"] < 500
