"""What OpenAI's picture routes answer: one JSON object, or events while the pictures are made."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from onebox.api.bodies import JSON
from onebox.api.openai.image_fields import own_names
from onebox.api.sse import EVENT_STREAM, event
from onebox.api.streaming import LargeResponse
from onebox.bootstrap import Services
from onebox.core.results import Artifact
from onebox.runtime.wire import Delta
from onebox.services.files import FileStore
from onebox.services.inference import Inference
from onebox.services.request import Outcome, Prepared

# What `usage` counts: of a picture squares of so many pixels a side, of a text words and marks.
TOKEN_SIDE = 16
WORD = re.compile(r"\w+|[^\w\s]")
# Qualities that the types of an answer know.
QUALITIES = frozenset({"low", "medium", "high", "xhigh", "max"})
# Told for all pictures together.
SHARED = frozenset({"width", "height", "role"})

Kind = Literal["image_generation", "image_edit"]


class ImageItem(BaseModel):
    """A picture, with what its task told about it."""

    model_config = ConfigDict(extra="allow")

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    seed: int | None = None


class TokenDetails(BaseModel):
    image_tokens: int
    text_tokens: int


class ImageUsage(BaseModel):
    """Of a picture squares of 16x16 pixels, of a text words and punctuation marks."""

    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int
    output_tokens_details: TokenDetails
    total_tokens: int


class ImagesResponse(BaseModel):
    created: int
    data: list[ImageItem]
    mask: ImageItem | None = None
    background: Literal["opaque", "transparent"]
    output_format: str
    quality: str | None = None
    size: str
    usage: ImageUsage


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a request says about its answer.

    Attributes:
        base_url: what links begin with; None: pictures are sent as base64.
        inputs: pictures that it brought along.
    """

    base_url: str | None = None
    quality: str | None = None
    inputs: int = 0


def answer_form(
    request: Request, response_format: str | None, *, quality: str | None = None, inputs: int = 0
) -> AnswerForm:
    services: Services = request.app.state.services
    base_url = (services.settings.public_url or str(request.base_url)).rstrip("/")
    return AnswerForm(base_url if response_format == "url" else None, quality, inputs)


def image_responses(*, streams: bool = True) -> dict[int | str, dict[str, Any]]:
    """What the API's pages say of an answer."""
    content: dict[str, Any] = {EVENT_STREAM: {}} if streams else {}
    return {200: {"description": "The pictures.", "model": ImagesResponse, "content": content}}


async def images_answer(outcome: Outcome, form: AnswerForm, files: FileStore) -> Response:
    # Files are written, and megabytes turned into base64.
    return LargeResponse(await asyncio.to_thread(_body, outcome, form, files), media_type=JSON)


async def image_events(
    inference: Inference, prepared: Prepared, form: AnswerForm, kind: Kind
) -> AsyncGenerator[bytes, None]:
    """Each picture of the making, then each picture. Closing it cancels."""
    shown: Counter[int] = Counter()
    with own_names():
        async with contextlib.aclosing(inference.stream(prepared)) as events:
            async for item in events:
                match item:
                    case Delta(data={"picture": number, "preview": raw, "media_type": kept}):
                        facts = {"image_index": number, "partial_image_index": shown[number]}
                        shown[number] += 1
                        told = _common(prepared, form, kept, _size(prepared.input))
                        yield _event(f"{kind}.partial_image", raw, told | facts)
                    case Outcome():
                        for number, artifact in enumerate(item.artifacts):
                            name = f"{kind}.completed"
                            yield await asyncio.to_thread(
                                _completed, name, number, artifact, item, form
                            )


def _completed(
    name: str, number: int, artifact: Artifact, outcome: Outcome, form: AnswerForm
) -> bytes:
    told = _common(outcome.prepared, form, artifact.media_type, _size_of(artifact))
    told |= {"image_index": number, **_facts(artifact)}
    told["usage"] = _usage(outcome.prepared, form, [artifact])
    return _event(name, artifact.data or b"", told)


def _body(outcome: Outcome, form: AnswerForm, files: FileStore) -> bytes:
    pictures = [artifact for artifact in outcome.artifacts if "role" not in artifact.meta]
    others = [artifact for artifact in outcome.artifacts if "role" in artifact.meta]
    first = pictures[0]
    told = _common(outcome.prepared, form, first.media_type, _size_of(first))
    if told["quality"] == "auto":
        del told["quality"]
    return msgspec.json.encode(
        {
            "created": told.pop("created_at"),
            "data": [answer_item(artifact, form, files) for artifact in pictures],
            **{other.meta["role"]: answer_item(other, form, files) for other in others},
            **told,
            "usage": _usage(outcome.prepared, form, pictures),
        }
    )


def answer_item(artifact: Artifact, form: AnswerForm, files: FileStore) -> dict[str, Any]:
    """A file as base64 or as a link, with what is told of it alone. Blocking."""
    if form.base_url is not None:
        return {"url": f"{form.base_url}/files/{files.put(artifact)}", **_facts(artifact)}
    return {"b64_json": _base64(artifact.data or b""), **_facts(artifact)}


def _event(name: str, raw: bytes, told: dict[str, Any]) -> bytes:
    return event(name, {"type": name, "b64_json": _base64(raw), **told})


def _common(prepared: Prepared, form: AnswerForm, media_type: str, size: str) -> dict[str, Any]:
    cut_out = getattr(prepared.input, "output", None) == "cutout" and media_type != "image/jpeg"
    is_cut_out = cut_out or getattr(prepared.input, "background", None) == "transparent"
    return {
        "created_at": int(time.time()),
        "background": "transparent" if is_cut_out else "opaque",
        "output_format": media_type.removeprefix("image/"),
        "quality": form.quality if form.quality in QUALITIES else "auto",
        "size": size,
    }


def _facts(artifact: Artifact) -> dict[str, Any]:
    return {name: value for name, value in artifact.meta.items() if name not in SHARED}


def _size(sized: Any) -> str:
    """`auto` where another server chooses it."""
    return f"{sized.width}x{sized.height}" if sized.width and sized.height else "auto"


def _size_of(artifact: Artifact) -> str:
    return f"{artifact.meta['width']}x{artifact.meta['height']}"


def _usage(prepared: Prepared, form: AnswerForm, artifacts: Sequence[Artifact]) -> dict[str, Any]:
    used: Any = prepared.input
    texts = [getattr(used, name, None) or "" for name in ("prompt", "negative_prompt")]
    words = sum(len(WORD.findall(text)) for text in texts)
    seen = 0
    if form.inputs:
        # Where another server chose the size, that is the one.
        own = artifacts[0].meta
        seen = form.inputs * _squares(used.width or own["width"], used.height or own["height"])
    drawn = sum(_squares(made.meta["width"], made.meta["height"]) for made in artifacts)
    return {
        "input_tokens": seen + words,
        "input_tokens_details": {"image_tokens": seen, "text_tokens": words},
        "output_tokens": drawn,
        "output_tokens_details": {"image_tokens": drawn, "text_tokens": 0},
        "total_tokens": seen + words + drawn,
    }


def _squares(width: int, height: int) -> int:
    return -(-width // TOKEN_SIDE) * -(-height // TOKEN_SIDE)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
