"""Task `text-to-image`: pictures from a prompt.

curl -s localhost:8000/v1/tasks/text-to-image -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' -H 'Accept: image/png' \\
     -d '{"model": "onebox-shapes", "prompt": "a red circle on a blue background"}' -o circle.png
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from onebox.core.contracts import DTYPE_BYTES, Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.core.seeds import SEEDS, random_seed, seed_of

FALLBACK_SIZE = 512
MAX_PIXELS = 2048 * 2048
# What decoding takes beside the weights, in values a pixel: the decoder of Stable Diffusion took
# 4,800 bytes a pixel in float32 (peak resident memory on a CPU, 384x384).
RESERVE_VALUES_PER_PIXEL = 1200


class TextToImageInput(BaseModel):
    """What to draw.

    Everything left out is filled in from the checkpoint, then from the server's settings.
    """

    prompt: str = Field(min_length=1, max_length=4000)
    negative_prompt: str | None = Field(None, max_length=4000)
    width: int | None = Field(None, ge=64, le=2048, multiple_of=8, description="Pixels.")
    height: int | None = Field(None, ge=64, le=2048, multiple_of=8, description="Pixels.")
    steps: int | None = Field(None, ge=1, le=150, description="Denoising steps.")
    guidance_scale: float | None = Field(None, ge=0, le=30, allow_inf_nan=False)
    seed: int | None = Field(
        None, ge=0, lt=SEEDS, description="Picture i uses seed + i; random if left out."
    )
    n: int = Field(default=1, ge=1, le=10, description="Pictures.")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(
        default=90, ge=0, le=100, description="Quality of jpeg and webp."
    )


class TextToImage(Task[TextToImageInput]):
    name = "text-to-image"
    summary = "Make pictures from a prompt"
    Input = TextToImageInput

    def resolve(
        self, request: TextToImageInput, entry: Entry, defaults: TaskDefaults
    ) -> TextToImageInput:
        own = entry.overrides.get("defaults", {})
        size = entry.facts.get("native_size", FALLBACK_SIZE)
        filled = {
            "width": own.get("width", size),
            "height": own.get("height", size),
            "steps": own.get("steps", defaults.steps),
            "guidance_scale": own.get("guidance_scale", defaults.guidance_scale),
            "negative_prompt": own.get("negative_prompt"),
            "seed": random_seed(),
        }
        missing = {name: value for name, value in filled.items() if getattr(request, name) is None}
        return request.model_copy(update=missing)

    def check(self, request: TextToImageInput, entry: Entry) -> None:
        pixels = (request.width or 0) * (request.height or 0)
        if pixels > MAX_PIXELS:
            raise InvalidInput(
                f"{pixels} pixels are more than the {MAX_PIXELS} that are allowed",
                param="width",
                details={"pixels": pixels, "max": MAX_PIXELS},
            )

    def reserve_bytes(self, request: TextToImageInput, entry: Entry, device: Device) -> int:
        pixels = (request.width or 0) * (request.height or 0)
        return pixels * RESERVE_VALUES_PER_PIXEL * DTYPE_BYTES[device.vae_dtype]

    def run(self, bundle: Any, request: TextToImageInput, context: RunContext) -> list[Output]:
        assert request.seed is not None
        seeds = [seed_of(request.seed, index) for index in range(request.n)]
        return [
            _output(
                _draw(bundle.pipeline, request, seed, index, context), request, seed, context.entry
            )
            for index, seed in enumerate(seeds)
        ]


def _draw(
    pipeline: Any, request: TextToImageInput, seed: int, index: int, context: RunContext
) -> Any:
    """One picture.

    Each is a run of its own, so that a seed gives the same pixels alone or among others.
    """
    import torch

    # The scheduler keeps state, so every run has its own; the weights are shared.
    scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
    view = _view(pipeline, scheduler)

    def on_step(running: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps = running.num_timesteps
        context.step(index * steps + step + 1, request.n * steps)
        return tensors

    context.check()
    arguments: dict[str, Any] = (
        {"negative_prompt": request.negative_prompt} if request.negative_prompt else {}
    )
    with torch.inference_mode():
        result = view(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=on_step,
            **arguments,
        )
    return result.images[0]


def _view(pipeline: Any, scheduler: Any) -> Any:
    """A pipeline over the same weights with state of its own."""
    extra = {"requires_safety_checker": False} if "safety_checker" in pipeline.components else {}
    view = type(pipeline)(**{**pipeline.components, "scheduler": scheduler}, **extra)
    view.set_progress_bar_config(disable=True)
    return view


def _output(image: Any, request: TextToImageInput, seed: int, entry: Entry) -> Output:
    embedded = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or "",
        "seed": str(seed),
        "steps": str(request.steps),
        "guidance_scale": str(request.guidance_scale),
        "model": entry.name,
        "model_sha256": entry.sha256 or "",
    }
    return Output(
        "image",
        image,
        options={"format": request.output_format, "quality": request.output_compression},
        meta={"seed": seed, "width": image.width, "height": image.height},
        embedded={name: value for name, value in embedded.items() if value},
    )


TASKS.register(TextToImage.name, TextToImage())
