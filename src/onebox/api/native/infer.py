"""`/v1/infer`: one flat request, pictures back as base64.

An adapter over the task `text-to-image`.
"""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import Route
from onebox.core.seeds import SEEDS
from onebox.services.request import Outcome
from onebox.tasks.text_to_image import TextToImageInput

router = APIRouter(route_class=Route, tags=["inference"])

Pixels = Annotated[int | None, Field(ge=256, le=1024, multiple_of=8)]


class InferRequest(RequestOptions):
    """Left-out sizes are the model's native one (512 where it has none)."""

    id: str = Field(
        min_length=1,
        max_length=64,
        description="Yours, unlike that of any other request you have running; comes back in the "
        "answer.",
    )
    model_id: str = Field(
        min_length=1, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    prompt: str = Field(min_length=1, max_length=1000)
    negative_prompt: str | None = Field(None, max_length=1000)
    num_inference_steps: int | None = Field(None, ge=1, le=150, description="Default 30.")
    guidance_scale: float | None = Field(
        None, ge=1, le=20, allow_inf_nan=False, description="Default 7.5."
    )
    width: Pixels = None
    height: Pixels = None
    seed: int | None = Field(None, ge=0, lt=SEEDS, description="Random if left out.")
    num_images: int = Field(1, ge=1, le=4)
    deterministic: bool = Field(False, description="The same bits for the same seed, under load.")


class InferImage(BaseModel):
    base64: str = Field(description="PNG.")
    seed: int | None = Field(None, description="null where another server does not tell it.")
    width: int
    height: int


class InferResponse(BaseModel):
    id: str
    model_id: str
    images: list[InferImage]
    processing_time: float = Field(description="Seconds.")
    prompt: str
    negative_prompt: str | None
    num_inference_steps: int | None = Field(description="null where another server chose it.")
    guidance_scale: float | None = Field(description="null where another server chose it.")


@router.post("/v1/infer", summary="Pictures from a prompt, as base64")
@router.post("/infer", summary="Pictures from a prompt, as base64", operation_id="infer_short")
async def infer(
    body: InferRequest, request: Request, services: ServicesDep, caller: CallerDep
) -> InferResponse:
    task_input = TextToImageInput(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        width=body.width,
        height=body.height,
        steps=body.num_inference_steps,
        guidance_scale=body.guidance_scale,
        seed=body.seed,
        n=body.num_images,
        deterministic=body.deterministic,
    )
    prepared = await services.inference.prepare(
        "text-to-image",
        task_input,
        model=body.model_id,
        caller=caller,
        options=options_of(body, request, client_id=body.id),
    )
    return _response(body, await services.inference.run(prepared))


def _response(body: InferRequest, outcome: Outcome) -> InferResponse:
    used = outcome.prepared.input
    assert isinstance(used, TextToImageInput)
    timing = outcome.timing
    return InferResponse(
        id=body.id,
        model_id=body.model_id,
        images=[
            InferImage(base64=base64.b64encode(artifact.data or b"").decode(), **artifact.meta)
            for artifact in outcome.artifacts
        ],
        processing_time=round(timing.load_s + timing.run_s + timing.encode_s, 4),
        prompt=used.prompt,
        negative_prompt=used.negative_prompt,
        num_inference_steps=used.steps,
        guidance_scale=used.guidance_scale,
    )
