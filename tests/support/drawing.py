"""Asking a server under test for tiny pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.support.pictures import pixels
from tests.support.server import wait_for

TASK = "/v1/tasks/text-to-image"
SMALL = {"prompt": "a red circle", "seed": 3, "steps": 2, "width": 64, "height": 64}


def asked(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    return client.post(TASK, json={"model": model, "deterministic": True, **SMALL, **fields})


def drawn(client: httpx.Client, model: str, **fields: Any) -> bytes:
    """The pixels of one picture."""
    return pixels_of(asked(client, model, **fields))


def drawn_soon(client: httpx.Client, model: str, **fields: Any) -> bytes:
    """The pixels of the first picture that there is. While one of its files is written there is no
    model.
    """

    def found() -> httpx.Response | None:
        answer = asked(client, model, **fields)
        return answer if answer.status_code == 200 else None

    return pixels_of(wait_for(found))


def pixels_of(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    return bytes(pixels(output["b64_json"]).tobytes())


def error(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code >= 400, answer.text
    told: dict[str, Any] = answer.json()["error"]
    return told


def listed(client: httpx.Client, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/models/{model}").json()
    return answer


def put(tensors: dict[str, Any], path: Path) -> Path:
    """Written beside and copied over, so that a file that is there is overwritten in place."""
    import shutil

    from safetensors.torch import save_file

    beside = path.with_suffix(".new")
    path.parent.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, beside)
    shutil.copyfile(beside, path)
    beside.unlink()
    return path
