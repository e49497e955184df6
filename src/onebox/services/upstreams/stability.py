"""The kind `stability`: Stability AI's REST API, `v2beta/stable-image`. One request a picture."""

from __future__ import annotations

import asyncio
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import Ask, renamed
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.gemini import nearest_ratio
from onebox.services.upstreams.pictures import alpha_as_white, file_of, picture_artifact

GENERATE = "/v2beta/stable-image/generate/{}"
INPAINT = "/v2beta/stable-image/edit/inpaint"
# Services with a path of their own; any other name is a model of `sd3`.
SERVICES = frozenset({"core", "ultra"})
FIELDS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "guidance_scale": "cfg_scale",
    "seed": "seed",
}
COMMON = (*FIELDS, "n", "output_format", "width", "height", "partial_images")
DEFAULT_STRENGTH = 0.75
MAX_SEED = 2**32 - 1
RATIOS = {
    "16:9": 16 / 9,
    "1:1": 1.0,
    "21:9": 21 / 9,
    "2:3": 2 / 3,
    "3:2": 3 / 2,
    "4:5": 4 / 5,
    "5:4": 5 / 4,
    "9:16": 9 / 16,
    "9:21": 9 / 21,
}


class Stability:
    async def run(self, ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
        fields, files = await _form(ask)
        inpaints = ask.task == "inpainting"
        service = ask.model if ask.model in SERVICES else "sd3"
        path = INPAINT if inpaints else GENERATE.format(service)
        if service == "sd3" and not inpaints:
            fields["model"] = ask.model
        pictures = []
        for index in range(ask.input["n"]):
            sent = dict(fields)
            if "seed" in ask.given:
                sent["seed"] = str((ask.given["seed"] + index) % MAX_SEED)
            call = Call(path, fields=sent, files=files, headers={"Accept": "image/*"})
            pictures.append(await _picture(call, connection, sent.get("seed")))
        return tuple(pictures)


async def _form(ask: Ask) -> tuple[dict[str, Any], list[Any]]:
    """Fields and files of the request."""
    fields = {name: str(value) for name, value in renamed(ask.given, FIELDS).items()}
    fields["output_format"] = ask.input["output_format"]
    match ask.task:
        case "text-to-image":
            ask.refuse_all_but(*COMMON)
            files: list[Any] = []
            width, height = ask.input["width"], ask.input["height"]
            if width and height:
                fields["aspect_ratio"] = nearest_ratio(width, height, RATIOS)
        case "image-to-image":
            ask.refuse_all_but(*COMMON, "images", "strength")
            if len(ask.input["images"]) > 1:
                raise InvalidInput("this model takes one picture", param="images")
            files = [("image", file_of(ask.input["images"][0], "picture"))]
            strength = ask.input["strength"]
            fields["strength"] = str(DEFAULT_STRENGTH if strength is None else strength)
            if ask.model not in SERVICES:
                fields["mode"] = "image-to-image"
        case _:
            ask.refuse_all_but(*COMMON, "image", "mask", "mask_mode", "preserve_unmasked")
            files = [("image", file_of(ask.input["image"], "picture"))]
            mask = ask.input["mask"]
            if mask is not None and ask.input["mask_mode"] == "alpha":
                white = await asyncio.to_thread(alpha_as_white, mask["data"])
                files.append(("mask", ("mask.png", white, "image/png")))
            elif mask is not None:
                files.append(("mask", file_of(mask, "mask")))
    return {**fields, **{name: str(value) for name, value in ask.parameters.items()}}, files


async def _picture(call: Call, connection: Connection, seed: str | None) -> Artifact:
    answer = await connection.whole(call)
    if answer.headers.get("finish-reason", "").upper() == "CONTENT_FILTERED":
        raise InvalidInput("the upstream refused to show what it drew", param="prompt")
    told = answer.headers.get("seed") or seed or ""
    about = {"seed": int(told) if told.isdecimal() else None}
    picture = await asyncio.to_thread(picture_artifact, answer.data, about)
    if picture is None:
        raise connection.useless("no picture")
    return picture
