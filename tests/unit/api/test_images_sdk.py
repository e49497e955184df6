"""The picture routes through OpenAI's own client."""

from __future__ import annotations

import base64
from typing import Any

import openai
import pytest

from onebox.core.errors import OutOfMemory
from tests.unit.api.drawing import Drawings, preview
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.sounds import collect, sync_client
from tests.unit.api.texts import with_sdk

LORAS = [{"model": "ink", "scale": 0.5}, {"model": "paper", "scale": 2.0}]
OTHER = ("b.png", PNG + b"other", "image/png")
PROMPT = "a blue circle"


def asked(drawings: Drawings) -> dict[str, Any]:
    """The task's input, of files the bytes."""
    given = drawings.input.model_dump(exclude_unset=True)
    return {name: _bytes(value) for name, value in given.items()}


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return value["data"] if isinstance(value, dict) and "data" in value else value


def test_the_sdk_generates(services):
    drawings = Drawings()

    async def use(client: openai.AsyncOpenAI):
        return await client.images.generate(
            prompt=PROMPT,
            model="m",
            n=2,
            size="512x512",
            output_format="webp",
            output_compression=80,
            quality="high",
            extra_body={"seed": 1, "loras": LORAS, "scheduler": "euler"},
        )

    answer = with_sdk(services, drawings, use)
    assert [item.model_extra for item in answer.data or ()] == [{"seed": 1}, {"seed": 2}]
    assert asked(drawings) == {
        "prompt": PROMPT,
        "n": 2,
        "width": 512,
        "height": 512,
        "output_format": "webp",
        "output_compression": 80,
        "seed": 1,
        "loras": LORAS,
        "scheduler": "euler",
    }
    assert answer._request_id


def test_the_sdk_reads_a_stream(services):
    drawings = Drawings([preview(0, b"dim"), preview(0, b"clear")])

    async def use(client: openai.AsyncOpenAI):
        stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=2)
        return await collect(stream)

    first, second, last = with_sdk(services, drawings, use)
    assert (first.type, second.partial_image_index) == ("image_generation.partial_image", 1)
    assert base64.b64decode(second.b64_json) == b"clear"
    assert (last.type, base64.b64decode(last.b64_json)) == (
        "image_generation.completed",
        PNG + b"\x01",
    )
    plain = sync_client(services, drawings).images.generate(
        prompt=PROMPT, stream=True, partial_images=2
    )
    assert [event.type for event in plain] == [first.type, second.type, last.type]


def test_the_sdk_raises_a_late_error(services):
    drawings = Drawings([preview(0, b"dim")], failure=OutOfMemory("no room left"))
    stream = sync_client(services, drawings).images.generate(
        prompt=PROMPT, stream=True, partial_images=1
    )
    with pytest.raises(openai.APIError, match="no room left"):
        list(stream)


@pytest.mark.parametrize(
    "image", [FILE, [FILE], PNG, [FILE, OTHER]], ids=["one", "a list of one", "bytes", "two"]
)
def test_the_sdk_edits(services, image):
    drawings = Drawings()

    async def use(client: openai.AsyncOpenAI):
        return await client.images.edit(
            image=image,
            prompt=PROMPT,
            model="m",
            n=2,
            size="512x256",
            background="opaque",
            input_fidelity="high",
            extra_body={"strength": 0.4, "loras": LORAS, "deterministic": True},
        )

    answer = with_sdk(services, drawings, use)
    assert len(answer.data or ()) == 2
    assert drawings.task == "image-to-image"
    assert asked(drawings) == {
        "images": [PNG, OTHER[1]] if image == [FILE, OTHER] else [PNG],
        "prompt": PROMPT,
        "n": 2,
        "width": 512,
        "height": 256,
        "background": "opaque",
        "strength": 0.4,
        "loras": LORAS,
        "deterministic": True,
    }


def test_the_sdk_edits_what_a_mask_says(services):
    drawings = Drawings()
    sync_client(services, drawings).images.edit(
        image=FILE, mask=OTHER, prompt=PROMPT, extra_body={"feather": 4, "mask_mode": "luminance"}
    )
    assert drawings.task == "inpainting"
    assert asked(drawings) == {
        "image": PNG,
        "mask": OTHER[1],
        "prompt": PROMPT,
        "feather": 4,
        "mask_mode": "luminance",
    }


def test_the_sdk_reads_a_stream_of_an_edit(services):
    drawings = Drawings([preview(0, b"dim")])
    stream = sync_client(services, drawings).images.edit(
        image=FILE, prompt=PROMPT, stream=True, partial_images=1
    )
    partial, done = list(stream)
    assert (partial.type, done.type) == ("image_edit.partial_image", "image_edit.completed")
    assert drawings.input.partial_images == 1


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_sdk_varies(services):
    drawings = Drawings()
    answer = sync_client(services, drawings).images.create_variation(
        image=FILE,
        model="dall-e-2",
        n=2,
        size="256x256",
        response_format="url",
        extra_body={"seed": 1, "strength": 0.5},
    )
    assert drawings.task == "variations"
    assert asked(drawings) == {
        "image": PNG,
        "n": 2,
        "width": 256,
        "height": 256,
        "seed": 1,
        "strength": 0.5,
    }
    assert all("/files/" in (item.url or "") for item in answer.data or ())


@pytest.mark.parametrize("named", ["image", "images"])
def test_json_edits_too(services, named):
    drawings = Drawings()
    client = sync_client(services, drawings)
    body = {named: [DATA_URL, {"image_url": DATA_URL}], "prompt": PROMPT}
    client.post("/images/edits", body=body, cast_to=object)
    assert asked(drawings) == {"images": [PNG, PNG], "prompt": PROMPT}
