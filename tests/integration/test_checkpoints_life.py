"""Single files, and what they take from others, while the model folder changes under the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file

from tests.support.drawing import asked, drawn, drawn_soon, error, listed, put
from tests.support.server import ADMIN_KEY, Server, wait_for
from tests.support.single_files import original_tensors, single_file

VAE = Path("vae") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def models(pipelines: Path) -> Path:
    return pipelines


@pytest.fixture
def server(pipeline_server: Server) -> Server:
    return pipeline_server


@pytest.fixture
def client(draughtsman: httpx.Client) -> httpx.Client:
    return draughtsman


def settled(client: httpx.Client, model: str, status: str = "ready") -> dict[str, Any]:
    """What is listed of the model, once it has that status."""
    wait_for(lambda: listed(client, model).get("status") == status)
    return listed(client, model)


def names_in_memory(client: httpx.Client) -> list[str]:
    (device,) = client.get("/v1/status").json()["devices"]
    return [bundle["name"] for bundle in device["bundles"]]


def brighter(file: Path, factor: float) -> dict[str, Any]:
    tensors = load_file(file)
    last = "decoder.conv_out.weight"
    return {**tensors, last: tensors[last] * factor}


def test_a_file_is_drawn_with_seconds_after_it_came_and_no_more_when_it_went(
    client: httpx.Client, models: Path
) -> None:
    file = single_file(models / "sd", models / "late.safetensors", without=("vae",))
    entry = settled(client, "late")
    assert "inpainting" in entry["tasks"]
    picture = drawn(client, "late.safetensors")
    assert picture == drawn(client, "sd")
    file.rename(models / "renamed.safetensors")
    settled(client, "renamed")
    assert drawn(client, "renamed") == picture
    (models / "renamed.safetensors").unlink()
    wait_for(lambda: "error" in listed(client, "renamed"))
    assert asked(client, "renamed").status_code == 404


def test_what_a_file_takes_from_another_is_never_an_old_one(
    client: httpx.Client, models: Path
) -> None:
    single_file(models / "sd", models / "half.safetensors", without=("vae",))
    settled(client, "half")
    before = drawn(client, "half")
    whole = {name: tensor.clone() for name, tensor in load_file(models / "sd" / VAE).items()}
    put(brighter(models / "sd" / VAE, 1.5), models / "sd" / VAE)
    # Of what is loaded the files are looked at once a second.
    wait_for(lambda: drawn_soon(client, "half") != before)
    settled(client, "sd")
    assert drawn(client, "half") == drawn(client, "sd")
    put(whole, models / "sd" / VAE)
    wait_for(lambda: drawn_soon(client, "half") == before)
    (models / "half.safetensors").unlink()


def test_a_part_that_cannot_be_loaded_is_told_and_another_one_mends_it(
    client: httpx.Client, models: Path
) -> None:
    prefix, tensors = "first_stage_model.", original_tensors(models / "sd")
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    wrong = {name.replace("block.0.norm1", "block.0.norm9"): own[name] for name in own}
    put(wrong, models / "parts" / "mine.safetensors")
    (models / "named.onebox.toml").write_text('[components]\nvae = "mine"\n')
    single_file(models / "sd", models / "named.safetensors", without=("vae",))
    settled(client, "named")
    told = error(asked(client, "named"))
    assert told["code"] == "model_broken"
    assert "mine.safetensors, of which it takes its vae" in told["message"]
    assert settled(client, "named", "broken")["reason"] in told["message"]
    put(own, models / "parts" / "mine.safetensors")
    settled(client, "named")
    assert drawn(client, "named") == drawn(client, "sd")


def test_a_transformer_alone_names_what_it_lacks_and_works_as_soon_as_that_is_there(
    client: httpx.Client, models: Path
) -> None:
    rest = ("vae", "text_encoder", "text_encoder_2")
    single_file(models / "flux", models / "alone.safetensors", without=rest)
    settled(client, "alone")
    picture = drawn(client, "flux")
    assert drawn(client, "alone") == picture
    away = models.parent / f"{models.name}-away"
    (models / "flux").rename(away)
    reason = settled(client, "alone", "broken")["reason"]
    assert "diffusers folder" in reason
    assert error(asked(client, "alone"))["message"].endswith(reason)
    away.rename(models / "flux")
    settled(client, "alone")
    assert drawn(client, "alone") == picture


def test_unloading_and_deleting_give_memory_back(
    server: Server, client: httpx.Client, models: Path
) -> None:
    single_file(models / "sd", models / "gone.safetensors")
    settled(client, "gone")
    drawn(client, "gone")
    wait_for(lambda: listed(client, "gone")["loaded"])
    (models / "gone.safetensors").unlink()
    wait_for(lambda: "gone" not in names_in_memory(client))
    with server.client(ADMIN_KEY) as chief:
        assert chief.post("/v1/models/sd/unload").status_code == 200


def test_a_pickle_is_converted_once_for_all_who_ask_at_once(
    server: Server, client: httpx.Client, models: Path
) -> None:
    torch.save({"state_dict": original_tensors(models / "sd")}, models / "old.ckpt")
    settled(client, "old.ckpt")
    with ThreadPoolExecutor(4) as pool:
        pictures = set(pool.map(lambda _: drawn(client, "old.ckpt"), range(4)))
    assert pictures == {drawn(client, "sd")}
    assert sum("converting a pickle" in line for line in server.log()) == 1
    # Another picture of the same name, while the old one is in memory.
    weights = original_tensors(models / "sd")
    last = "first_stage_model.decoder.conv_out.weight"
    torch.save({"state_dict": {**weights, last: weights[last] * 2}}, models / "old.ckpt")
    assert drawn_soon(client, "old.ckpt") not in pictures
