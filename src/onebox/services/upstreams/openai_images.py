"""Pictures of servers that speak OpenAI's language."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping
from typing import Any

from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import Ask
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.failures import broken_off
from onebox.services.upstreams.pictures import file_of, picture_artifact

# Sent under their own names, where they were given; `size` and `partial_images` beside them.
FIELDS = (
    "prompt",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "seed",
    "scheduler",
    "loras",
    "textual_inversions",
    "deterministic",
    "n",
    "clip_skip",
    "background",
    "output_format",
    "output_compression",
)
CHANGING = (*FIELDS, "strength")
MASKED = (
    *CHANGING,
    "mask_mode",
    "feather",
    "preserve_unmasked",
    "inpaint_area",
    "inpaint_padding",
)
COMMON = ("width", "height", "partial_images")
# Facts about a picture that its answer may hold beside it.
TOLD = ("seed", "revised_prompt")


async def generate(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    ask.refuse_all_but(*FIELDS, *COMMON)
    body = {"model": ask.model, **_fields(ask, FIELDS), **ask.parameters}
    return await _pictures(ask, connection, Call(path, json=body))


async def edit(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    """With a mask or without."""
    masked = ask.task == "inpainting"
    fields = MASKED if masked else CHANGING
    ask.refuse_all_but(*fields, *COMMON, "images", "image", "references", "mask")
    pictures = [ask.input["image"], *ask.input["references"]] if masked else ask.input["images"]
    name = "image" if len(pictures) == 1 else "image[]"
    files = [(name, file_of(one, f"picture-{place}")) for place, one in enumerate(pictures)]
    sent = _fields(ask, fields)
    if masked and ask.input["mask"] is not None:
        files.append(("mask", file_of(ask.input["mask"], "mask")))
    elif masked:
        # The picture's own transparency is the mask.
        sent["mask_mode"] = ask.input["mask_mode"]
    form = {"model": ask.model, **_as_form(sent), **_as_form(ask.parameters)}
    return await _pictures(ask, connection, Call(path, fields=form, files=files))


def _fields(ask: Ask, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: ask.given[name] for name in names if name in ask.given}
    width, height = ask.input["width"], ask.input["height"]
    if width and height:
        found["size"] = f"{width}x{height}"
    if ask.input["partial_images"] and not ask.whole:
        found |= {"stream": True, "partial_images": ask.input["partial_images"]}
    return found


def _as_form(fields: Mapping[str, Any]) -> dict[str, str]:
    """Texts; what is no plain value as JSON."""
    import msgspec

    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in fields.items()
    }


async def _pictures(ask: Ask, connection: Connection, call: Call) -> tuple[Artifact, ...]:
    streams = ask.input["partial_images"] and not ask.whole
    items = await (_streamed(ask, connection, call) if streams else _all(connection, call))
    # Megabytes of base64, off the loop.
    made = [await asyncio.to_thread(_picture, item) for item in items[: ask.input["n"]]]
    pictures = tuple(artifact for artifact in made if artifact is not None)
    if len(pictures) < ask.input["n"]:
        raise connection.useless(f"{len(pictures)} pictures instead of {ask.input['n']}, as base64")
    return pictures


async def _all(connection: Connection, call: Call) -> list[Any]:
    answer = await connection.json(call)
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise connection.useless("no list of pictures")
    return items


async def _streamed(ask: Ask, connection: Connection, call: Call) -> list[Any]:
    """The pictures, after those of the making."""
    found: dict[int, Any] = {}
    async with contextlib.aclosing(connection.events(call)) as events:
        async for event in events:
            if not isinstance(event, dict):
                raise connection.useless("an event that is no object")
            kind = str(event.get("type"))
            if event.get("error") or kind == "error":
                told = event.get("error") or event
                raise broken_off(connection.name, told, connection.secrets)
            if kind.endswith(".completed"):
                found[event.get("image_index", len(found))] = event
            elif kind.endswith(".partial_image"):
                preview = _picture(event)
                if preview is not None:
                    number = event.get("image_index", 0)
                    told = {"picture": number, "media_type": preview.media_type}
                    ask.tell({**told, "preview": preview.data})
    return [item for _, item in sorted(found.items())]


def _picture(item: Any) -> Artifact | None:
    if not isinstance(item, dict) or not isinstance(item.get("b64_json"), str):
        return None
    try:
        data = base64.b64decode(item["b64_json"], validate=True)
    except (binascii.Error, ValueError):
        return None
    return picture_artifact(data, {name: item.get(name) for name in TOLD})
