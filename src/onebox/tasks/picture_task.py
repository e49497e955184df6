"""`PictureTask`: what the tasks that draw with a diffusion pipeline have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

from onebox.core.companions import Companion
from onebox.core.contracts import DTYPE_BYTES, Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.results import Artifact, Output
from onebox.core.seeds import random_seed
from onebox.core.stages import Stage
from onebox.hardware.picture_rules import batch_size
from onebox.imaging.diffusion.abilities import defaults_of
from onebox.imaging.diffusion.drawing import draw
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.diffusion.scheduler_names import read_name
from onebox.tasks.cutout import CutoutInput, takes_anything
from onebox.tasks.picture_adapters import companions_of, own_loras, require_fit
from onebox.tasks.picture_input import PictureInput

InputT = TypeVar("InputT", bound=PictureInput)

FALLBACK_SIZE = 512
MAX_PIXELS = 2048 * 2048
# What decoding takes beside the weights, in values a pixel: the decoder of Stable Diffusion took
# 4,800 bytes a pixel in float32 (peak resident memory on a CPU, 384x384).
RESERVE_VALUES_PER_PIXEL = 1200
# The same for each further picture of a batch, which are decoded one by one. With onebox-shapes 30
# were measured; denoisers of full size take more. A measured peak replaces both.
RESERVE_VALUES_PER_PIXEL_MORE = 300


CUTOUT = "cutout"
CUTTER = Companion(
    CUTOUT,
    None,
    frozenset({"segmentation"}),
    task=CUTOUT,
    prefers=takes_anything,
    param="background",
    needs="a transparent background needs a model that cuts pictures out; "
    "`onebox pull starter` brings u2netp",
)


class PictureTask(Task[InputT]):
    """A task says what its recipe and its pictures are; the rest is here."""

    @abstractmethod
    def recipe(self, request: InputT, entry: Entry) -> Recipe:
        """What the pictures of the resolved request have in common."""

    @abstractmethod
    def pictures(
        self, request: InputT, recipe: Recipe, owner: int, context: RunContext
    ) -> list[Picture]:
        """What to draw; `owner` is the request's number in its batch. Runs on the engine thread."""

    def finished(self, image: Any, request: InputT, picture: Picture, context: RunContext) -> Any:
        """The picture as the client gets it, of what the pipeline drew."""
        return image

    def resolve(self, request: InputT, entry: Entry, defaults: TaskDefaults) -> InputT:
        own = {**defaults_of(entry.kind), **entry.overrides.get("defaults", {})}
        filled = {
            "steps": own.get("steps", defaults.steps),
            "guidance_scale": own.get("guidance_scale", defaults.guidance_scale),
            "negative_prompt": own.get("negative_prompt"),
            "scheduler": own.get("scheduler"),
            "clip_skip": own.get("clip_skip"),
            "loras": own_loras(entry),
            "seed": random_seed(),
        }
        missing = {name: value for name, value in filled.items() if getattr(request, name) is None}
        return request.model_copy(update=missing)

    def check(self, request: InputT, entry: Entry) -> None:
        # Whether it fits is known with the weights; a name that is nobody's is refused before.
        read_name(request.scheduler)
        _require_sides(self.recipe(request, entry), entry)
        _require_alpha(request)
        pixels = self._pixels(request, entry)
        if pixels > MAX_PIXELS:
            raise InvalidInput(
                f"{pixels} pixels are more than the {MAX_PIXELS} that are allowed",
                param="width",
                details={"pixels": pixels, "max": MAX_PIXELS},
            )

    def companions(self, request: InputT, entry: Entry) -> tuple[Companion, ...]:
        found = companions_of(request, entry)
        return (*found, CUTTER) if request.background == "transparent" else found

    def fits(self, request: InputT, entry: Entry, slot: str, companion: Entry) -> None:
        if slot == CUTOUT:
            return
        require_fit(request, entry, slot, companion)

    def after(self, request: InputT, artifact: Artifact) -> Stage | None:
        if request.background != "transparent":
            return None
        cutout = CutoutInput(
            image=MediaRef(media_type=artifact.media_type, data=artifact.data),
            output_format=request.output_format,
            output_compression=request.output_compression,
            clean_edges=True,
            keep_text=True,
        )
        return Stage(
            CUTOUT, cutout, companion=CUTOUT, params=dict.fromkeys(("model", "image"), "background")
        )

    def reserve_bytes(self, request: InputT, entry: Entry, device: Device) -> int:
        more = min(request.n, self.max_items(request, entry, device)) - 1
        values = RESERVE_VALUES_PER_PIXEL + more * RESERVE_VALUES_PER_PIXEL_MORE
        return self._pixels(request, entry) * values * DTYPE_BYTES[device.vae_dtype]

    def is_deterministic(self, request: InputT) -> bool:
        return request.deterministic

    def batch_key(self, request: InputT, entry: Entry) -> Hashable | None:
        if request.deterministic:
            return None
        # Some pipelines embed an empty negative prompt otherwise than none.
        return self.recipe(request, entry), bool(request.negative_prompt)

    def items(self, request: InputT) -> int:
        return request.n

    def max_items(self, request: InputT, entry: Entry, device: Device) -> int:
        return 1 if request.deterministic else batch_size(device, self._pixels(request, entry))

    def run(self, bundle: Any, request: InputT, context: RunContext) -> list[Output]:
        return self.run_batch(bundle, [request], context)[0]

    def run_batch(
        self, bundle: Any, requests: Sequence[InputT], context: RunContext
    ) -> list[list[Output]]:
        first, entry = requests[0], context.entry
        recipe = self.recipe(first, entry)
        pictures = [
            picture
            for owner, request in enumerate(requests)
            for picture in self.pictures(request, recipe, owner, context)
        ]
        outputs: list[list[Output]] = [[] for _ in requests]
        images = self.drawn(bundle, pictures, first, recipe, context)
        for picture, image in zip(pictures, images, strict=True):
            request = requests[picture.owner]
            finished = self.finished(image, request, picture, context)
            outputs[picture.owner].append(_output(finished, request, recipe, picture, entry))
        return outputs

    def drawn(
        self,
        bundle: Any,
        pictures: Sequence[Picture],
        request: InputT,
        recipe: Recipe,
        context: RunContext,
    ) -> list[Any]:
        """Pillow images of the pictures, in their order; `request` stands for all of the batch."""
        batch = 1 if context.lean else self.max_items(request, context.entry, context.device)
        return draw(bundle, pictures, recipe, batch, context)

    def _pixels(self, request: InputT, entry: Entry) -> int:
        """Of the largest picture that a pipeline draws for the request."""
        recipe = self.recipe(request, entry)
        return recipe.width * recipe.height


def _require_sides(recipe: Recipe, entry: Entry) -> None:
    """Raises InvalidInput for a size that the pipeline cannot draw, or would silently round."""
    step, most = entry.facts.get("multiple", 1), entry.facts.get("max_side")
    for param, side in (("width", recipe.width), ("height", recipe.height)):
        if most is not None and side > most:
            raise InvalidInput(
                f"{entry.name} draws sides of at most {most} pixels, and {param} is {side}",
                param=param,
                details={"max": most, "received": side},
            )
        if side % step:
            raise InvalidInput(
                f"{entry.name} draws sides that are multiples of {step}, and {param} is {side}; "
                f"ask for {side // step * step} or {(side // step + 1) * step}",
                param=param,
                details={"multiple": step, "received": side},
            )


def _output(
    image: Any, request: PictureInput, recipe: Recipe, picture: Picture, entry: Entry
) -> Output:
    embedded = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or "",
        "seed": str(picture.seed),
        "steps": str(recipe.steps),
        "guidance_scale": str(recipe.guidance_scale),
        "strength": "" if recipe.strength is None else str(recipe.strength),
        "scheduler": recipe.scheduler or "",
        "loras": ", ".join(f"{lora.model}:{lora.scale}" for lora in request.loras or ()),
        "model": entry.name,
        "model_sha256": entry.sha256 or "",
    }
    return Output(
        "image",
        image,
        options={"format": _drawn_format(request), "quality": request.output_compression},
        meta={"seed": picture.seed, "width": image.width, "height": image.height},
        embedded={name: value for name, value in embedded.items() if value},
    )


def _require_alpha(request: PictureInput) -> None:
    if request.background == "transparent" and request.output_format == "jpeg":
        raise InvalidInput(
            "jpeg has no transparency; take png or webp for a transparent background",
            param="output_format",
        )


def _drawn_format(request: PictureInput) -> str:
    """What is yet to be cut out loses nothing before it."""
    return "png" if request.background == "transparent" else request.output_format
