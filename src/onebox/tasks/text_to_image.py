"""Task `text-to-image`: pictures from a prompt.

curl -s localhost:8000/v1/tasks/text-to-image -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' -H 'Accept: image/png' \\
     -d '{"model": "onebox-shapes", "prompt": "a red circle on a blue background"}' -o circle.png
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from onebox.core.contracts import DTYPE_BYTES, Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.core.seeds import SEEDS, random_seed, seed_of
from onebox.tasks.pictures import Picture, batch_size, draw

FALLBACK_SIZE = 512
MAX_PIXELS = 2048 * 2048
# What decoding takes beside the weights, in values a pixel: the decoder of Stable Diffusion took
# 4,800 bytes a pixel in float32 (peak resident memory on a CPU, 384x384).
RESERVE_VALUES_PER_PIXEL = 1200
# The same for each further picture of a batch, which are decoded one by one. With onebox-shapes 30
# were measured; denoisers of full size take more. A measured peak replaces both.
RESERVE_VALUES_PER_PIXEL_MORE = 300


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
    deterministic: bool = Field(
        default=False,
        description="The same bits for the same seed, alone or under load: drawn by itself.",
    )
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
        pixels = _pixels(request)
        if pixels > MAX_PIXELS:
            raise InvalidInput(
                f"{pixels} pixels are more than the {MAX_PIXELS} that are allowed",
                param="width",
                details={"pixels": pixels, "max": MAX_PIXELS},
            )

    def reserve_bytes(self, request: TextToImageInput, entry: Entry, device: Device) -> int:
        pixels = _pixels(request)
        more = min(request.n, self.max_items(request, entry, device)) - 1
        values = RESERVE_VALUES_PER_PIXEL + more * RESERVE_VALUES_PER_PIXEL_MORE
        return pixels * values * DTYPE_BYTES[device.vae_dtype]

    def size_class(self, request: TextToImageInput) -> str:
        return f"{request.width}x{request.height}x{request.n}"

    def is_deterministic(self, request: TextToImageInput) -> bool:
        return request.deterministic

    def batch_key(self, request: TextToImageInput, entry: Entry) -> Hashable | None:
        if request.deterministic:
            return None
        # Some pipelines embed an empty negative prompt otherwise than none.
        negative = bool(request.negative_prompt)
        return request.width, request.height, request.steps, request.guidance_scale, negative

    def items(self, request: TextToImageInput) -> int:
        return request.n

    def max_items(self, request: TextToImageInput, entry: Entry, device: Device) -> int:
        return 1 if request.deterministic else batch_size(device, _pixels(request))

    def run(self, bundle: Any, request: TextToImageInput, context: RunContext) -> list[Output]:
        return self.run_batch(bundle, [request], context)[0]

    def run_batch(
        self, bundle: Any, requests: Sequence[TextToImageInput], context: RunContext
    ) -> list[list[Output]]:
        first = requests[0]
        pictures = [picture for request in requests for picture in _pictures(request)]
        batch = 1 if context.lean else self.max_items(first, context.entry, context.device)
        images = iter(
            draw(
                bundle.pipeline,
                pictures,
                batch,
                context,
                width=first.width,
                height=first.height,
                num_inference_steps=first.steps,
                guidance_scale=first.guidance_scale,
            )
        )
        return [
            [_output(next(images), request, p.seed, context.entry) for p in _pictures(request)]
            for request in requests
        ]


def _pixels(request: TextToImageInput) -> int:
    return (request.width or 0) * (request.height or 0)


def _pictures(request: TextToImageInput) -> list[Picture]:
    assert request.seed is not None
    return [
        Picture(request.prompt, request.negative_prompt, seed_of(request.seed, index))
        for index in range(request.n)
    ]


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
