"""`VideoTask`: what the tasks that draw videos with a diffusion pipeline have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

from onebox.core.companions import Companion
from onebox.core.contracts import DTYPE_BYTES, Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.results import Output
from onebox.core.seeds import random_seed
from onebox.imaging.diffusion.recipe import Picture, VideoRecipe
from onebox.imaging.diffusion.scheduler_names import read_name
from onebox.imaging.diffusion.sizes import Size
from onebox.imaging.video.abilities import (
    VideoMode,
    ability_of,
    defaults_of,
    frames_below,
    frames_near,
)
from onebox.imaging.video.filming import film
from onebox.tasks.picture_adapters import (
    companions_of,
    loras,
    own_loras,
    require_fit,
    textual_inversions,
)
from onebox.tasks.video_input import VideoInput
from onebox.tasks.video_outputs import outputs_of

InputT = TypeVar("InputT", bound=VideoInput)

FALLBACK_SIZE = 512
MAX_PIXELS = 2048 * 2048
# Of all frames together, which are held in memory as 3 bytes each until they are encoded: 12
# seconds of 1280x720 at 24 a second.
MAX_PIXEL_FRAMES = 256 * 1024 * 1024
# What decoding takes for a pixel, and of how many frames at a time.
DECODER_VALUES, DECODED_FRAMES = 1200, 4


class VideoTask(Task[InputT]):
    """A task says what it starts from; the rest is here."""

    mode: ClassVar[VideoMode]

    @abstractmethod
    def shot(self, request: InputT, recipe: VideoRecipe, context: RunContext) -> Picture:
        """What to film. Runs on the engine thread."""

    def plain_shot(self, request: InputT) -> Picture:
        """What the resolved request says of it in words."""
        assert request.seed is not None
        return Picture(
            request.prompt,
            request.negative_prompt,
            request.seed,
            previews=request.partial_images,
            preview_format="jpeg",
        )

    def size(self, request: InputT, entry: Entry) -> Size:
        """Width and height of the video, in pixels."""
        own = entry.overrides.get("defaults", {})
        # A motion adapter's is that of the model it stands on.
        native = entry.facts.get("native_size", FALLBACK_SIZE)
        learnt = {"width": native, "height": native, **entry.facts, **own}
        return request.width or learnt["width"], request.height or learnt["height"]

    def extra(self, request: InputT) -> dict[str, Any]:
        """Further arguments of the pipeline's call."""
        return {}

    def resolve(self, request: InputT, entry: Entry, defaults: TaskDefaults) -> InputT:
        own = {**defaults_of(entry.kind or ""), **entry.overrides.get("defaults", {})}
        filled = {
            "steps": own["steps"],
            "guidance_scale": own["guidance_scale"],
            "negative_prompt": own.get("negative_prompt"),
            "scheduler": own.get("scheduler"),
            "loras": own_loras(entry),
            "seed": random_seed(),
        }
        missing = {name: value for name, value in filled.items() if getattr(request, name) is None}
        width, height = self.size(request, entry)
        frames, fps = _length(request, entry, own, defaults)
        given = {"width": width, "height": height, "num_frames": frames, "fps": fps}
        # A request that is resolved again is to stay the same.
        return request.model_copy(update={**missing, **given, "duration": None})

    def check(self, request: InputT, entry: Entry) -> None:
        # Whether it fits is known with the weights; a name that is nobody's is refused before.
        read_name(request.scheduler)
        recipe = self.recipe(request, entry)
        _require_sides(recipe, entry)
        _require_frames(recipe, entry)
        pixels = recipe.width * recipe.height
        if pixels > MAX_PIXELS:
            raise InvalidInput(
                f"frames of {pixels} pixels are more than the {MAX_PIXELS} that are allowed",
                param="width",
                details={"pixels": pixels, "max": MAX_PIXELS},
            )
        if pixels * recipe.frames > MAX_PIXEL_FRAMES:
            raise InvalidInput(
                f"{recipe.frames} frames of {recipe.width}x{recipe.height} are more than the "
                f"{MAX_PIXEL_FRAMES} pixels of a video; ask for {MAX_PIXEL_FRAMES // pixels} "
                "frames at most, or for smaller ones",
                param="num_frames",
                details={"frames": recipe.frames, "max": MAX_PIXEL_FRAMES // pixels},
            )

    def companions(self, request: InputT, entry: Entry) -> tuple[Companion, ...]:
        return companions_of(request, entry)

    def fits(self, request: InputT, entry: Entry, slot: str, companion: Entry) -> None:
        require_fit(request, entry, slot, companion)

    def recipe(self, request: InputT, entry: Entry) -> VideoRecipe:
        assert request.width is not None
        assert request.height is not None
        assert request.steps is not None
        assert request.num_frames is not None
        assert request.fps is not None
        return VideoRecipe(
            self.mode,
            request.width,
            request.height,
            request.steps,
            request.guidance_scale or 0.0,
            scheduler=request.scheduler,
            loras=loras(request),
            textual_inversions=textual_inversions(request),
            extra=tuple(sorted(self.extra(request).items())),
            frames=request.num_frames,
            fps=request.fps,
        )

    def reserve_bytes(self, request: InputT, entry: Entry, device: Device) -> int:
        recipe = self.recipe(request, entry)
        pixels = recipe.width * recipe.height
        drawing = pixels * recipe.frames * ability_of(entry.kind or "").values
        decoding = pixels * min(recipe.frames, DECODED_FRAMES) * DECODER_VALUES
        working = max(drawing * DTYPE_BYTES[device.dtype], decoding * DTYPE_BYTES[device.vae_dtype])
        return working + 3 * pixels * recipe.frames

    def size_class(self, request: InputT) -> str:
        return f"{request.width}x{request.height}x{request.num_frames}"

    def is_deterministic(self, request: InputT) -> bool:
        return request.deterministic

    def run(self, bundle: Any, request: InputT, context: RunContext) -> list[Output]:
        recipe = self.recipe(request, context.entry)
        shot = self.shot(request, recipe, context)
        clip = film(bundle, shot, recipe, context.entry.facts["classes"][self.mode], context)
        return outputs_of(clip, request, shot, recipe, context.entry)


def _length(
    request: VideoInput, entry: Entry, own: dict[str, Any], defaults: TaskDefaults
) -> tuple[int, int]:
    """Frames, and how many a second: those asked for, or the nearest that the model draws.

    Raises InvalidInput when both are asked for in two ways, and for more than the server's settings
    allow.
    """
    grid, most = ability_of(entry.kind or "").grid, entry.facts.get("max_frames")
    fps = request.fps or own.get("fps", entry.facts["fps"])
    if request.duration is None:
        frames = request.num_frames or own.get("num_frames", entry.facts["num_frames"])
    elif request.num_frames is not None:
        raise InvalidInput(
            "num_frames and duration both say how long it is to be; give one of them",
            param="duration",
        )
    else:
        _require_seconds(request.duration, "duration", defaults)
        if request.fps is None and most is not None and request.duration * fps > most:
            fps = max(1, int(most / request.duration))
        frames = request.duration * fps
    param = "num_frames" if request.duration is None else "duration"
    if frames > defaults.max_video_frames:
        raise InvalidInput(
            f"{frames:.0f} frames are more than the {defaults.max_video_frames} that are allowed; "
            "ask for fewer",
            param=param,
            details={"frames": frames, "max": defaults.max_video_frames},
        )
    _require_seconds(frames / fps, param, defaults)
    allowed = int(min(defaults.max_video_frames, defaults.max_video_s * fps))
    # What was allowed to be asked for is not refused for being rounded up.
    return min(frames_near(frames, grid), frames_below(allowed, grid)), fps


def _require_seconds(seconds: float, param: str, defaults: TaskDefaults) -> None:
    """Raises InvalidInput for more than the server's settings allow."""
    if seconds > defaults.max_video_s:
        raise InvalidInput(
            f"it would last {seconds:.5g} s, and {defaults.max_video_s:g} s are allowed; ask for "
            "fewer frames, or for more a second",
            param=param,
            details={"seconds": seconds, "max": defaults.max_video_s},
        )


def _require_sides(recipe: VideoRecipe, entry: Entry) -> None:
    """Raises InvalidInput for a size that the pipeline would round without a word."""
    step = entry.facts["multiple"]
    for param, side in (("width", recipe.width), ("height", recipe.height)):
        if side % step:
            raise InvalidInput(
                f"{entry.name} draws sides that are multiples of {step}, and {param} is {side}; "
                f"ask for {side // step * step or step} or {(side // step + 1) * step}",
                param=param,
                details={"multiple": step, "received": side},
            )


def _require_frames(recipe: VideoRecipe, entry: Entry) -> None:
    """Raises InvalidInput for more than the weights have places for."""
    most = entry.facts.get("max_frames")
    if most is not None and recipe.frames > most:
        fits = frames_below(most, ability_of(entry.kind or "").grid)
        raise InvalidInput(
            f"{entry.name} draws {fits} frames at most, and {recipe.frames} were asked for; ask "
            "for fewer, or for fewer a second",
            param="num_frames",
            details={"frames": recipe.frames, "max": fits},
        )
