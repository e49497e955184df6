"""What diffusers' video pipelines can do, as one table: known from a class name, nothing is loaded.

A checkpoint names one class in `model_index.json`. Some weights can be used by two classes, one
that goes by a text alone and one that goes on from a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from onebox.imaging.diffusion.memory_plan import DENOISERS

VideoMode = Literal["text-to-video", "image-to-video"]
TEXT: VideoMode = "text-to-video"
IMAGE: VideoMode = "image-to-video"
TASK_NAMES: frozenset[str] = frozenset({TEXT, IMAGE})


@dataclass(frozen=True, slots=True)
class Ability:
    """What the class of a checkpoint can do, and what suits its weights.

    Attributes:
        classes: by mode, those that work with its weights.
        size: width and height in pixels that it learnt, where no configuration tells.
        frames: how many it learnt.
        fps: at how many a second.
        grid: the number of frames is a multiple of it and one more.
        multiple: of what the sides must be, in pixels.
        steps, guidance: its usual ones.
        guidance_argument: what the call names the guidance.
        fps_argument: what it names the frame rate, where it was told that in training.
        reads: whether there is a text that it goes by.
        values: of working memory that it takes for each pixel of each frame while it draws: those
            with a UNet work on all frames as on so many pictures, the others on patches.
        unused: components that are not loaded.
    """

    classes: Mapping[VideoMode, str]
    size: tuple[int, int]
    frames: int
    fps: int
    grid: int = 1
    multiple: int = 8
    steps: int = 50
    guidance: float = 6.0
    guidance_argument: str = "guidance_scale"
    fps_argument: str | None = None
    reads: bool = True
    values: int = 80
    unused: frozenset[str] = field(default_factory=frozenset)


UNET_VALUES = 300
COGVIDEOX_15_FPS = 16
# Denoisers that are a picture model's with layers for motion between its own.
BASES: Mapping[str, str] = {"AnimateDiffPipeline": "sd1"}
TABLE: Mapping[str, Ability] = {
    "WanPipeline": Ability(
        {TEXT: "WanPipeline"}, (832, 480), 81, 16, grid=4, multiple=16, guidance=5.0
    ),
    "WanImageToVideoPipeline": Ability(
        {IMAGE: "WanImageToVideoPipeline"}, (832, 480), 81, 16, grid=4, multiple=16, guidance=5.0
    ),
    "LTXPipeline": Ability(
        {TEXT: "LTXPipeline", IMAGE: "LTXImageToVideoPipeline"},
        (704, 480),
        121,
        24,
        grid=8,
        multiple=32,
        guidance=3.0,
        fps_argument="frame_rate",
    ),
    "AnimateDiffPipeline": Ability(
        {TEXT: "AnimateDiffPipeline"},
        (512, 512),
        16,
        8,
        steps=25,
        guidance=7.5,
        values=UNET_VALUES,
        unused=frozenset({"feature_extractor", "image_encoder"}),
    ),
    "StableVideoDiffusionPipeline": Ability(
        {IMAGE: "StableVideoDiffusionPipeline"},
        (1024, 576),
        25,
        7,
        # Its denoiser halves the latents three times.
        multiple=64,
        steps=25,
        guidance=3.0,
        guidance_argument="max_guidance_scale",
        fps_argument="fps",
        reads=False,
        values=UNET_VALUES,
    ),
    "CogVideoXPipeline": Ability(
        # An even number of latent frames would be decoded to more frames than were asked for.
        {TEXT: "CogVideoXPipeline"},
        (720, 480),
        49,
        8,
        grid=8,
        multiple=16,
    ),
    "CogVideoXImageToVideoPipeline": Ability(
        {IMAGE: "CogVideoXImageToVideoPipeline"}, (720, 480), 49, 8, grid=8, multiple=16
    ),
    "HunyuanVideoPipeline": Ability(
        {TEXT: "HunyuanVideoPipeline"}, (1280, 720), 129, 24, grid=4, multiple=16
    ),
    "HunyuanVideoImageToVideoPipeline": Ability(
        {IMAGE: "HunyuanVideoImageToVideoPipeline"}, (1280, 720), 125, 24, grid=4, multiple=16
    ),
    "TextToVideoSDPipeline": Ability(
        {TEXT: "TextToVideoSDPipeline"},
        (256, 256),
        16,
        8,
        steps=25,
        guidance=9.0,
        values=UNET_VALUES,
    ),
}
# Wan 2.2 of 5B sees a given picture as a frame without noise, and learnt to do with and without.
WAN_BOTH = Ability(
    {TEXT: "WanPipeline", IMAGE: "WanImageToVideoPipeline"},
    (1280, 704),
    121,
    24,
    grid=4,
    multiple=32,
    guidance=5.0,
)
# Weights whose folder names the one class and that the other class can use too.
SAME_WEIGHTS: Mapping[str, str] = {"LTXImageToVideoPipeline": "LTXPipeline"}


def class_names() -> frozenset[str]:
    """Every class that a checkpoint may name."""
    return frozenset(TABLE) | frozenset(SAME_WEIGHTS)


def ability_of(class_name: str) -> Ability:
    """Raises KeyError for a class that is not served."""
    return TABLE[SAME_WEIGHTS.get(class_name, class_name)]


def defaults_of(class_name: str) -> Mapping[str, float]:
    """Steps and guidance that suit the weights."""
    ability = ability_of(class_name)
    return {"steps": ability.steps, "guidance_scale": ability.guidance}


def facts_of(
    class_name: str, index: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What tasks want to know of a checkpoint, as its entry's facts hold it.

    Args:
        configs: the configurations of its components, by their names.
    """
    ability = ability_of(class_name)
    if class_name.startswith("Wan") and index.get("expand_timesteps"):
        ability = WAN_BOTH
    denoiser = next((configs[name] for name in DENOISERS if name in configs), {})
    learnt = {
        "width": ability.size[0],
        "height": ability.size[1],
        "num_frames": ability.frames,
        "fps": ability.fps,
        "multiple": ability.multiple,
        **_learnt(denoiser, configs.get("vae", {})),
    }
    most = denoiser.get("motion_max_seq_length")
    if isinstance(most, int):
        learnt |= {"max_frames": most, "num_frames": min(learnt["num_frames"], most)}
    return {
        "classes": dict(ability.classes),
        # What additions must be made for.
        "base": BASES.get(class_name, class_name),
        **learnt,
    }


def frames_near(frames: float, grid: int) -> int:
    """The nearest number of frames that a pipeline of this grid draws: 4n + 1, 8n + 1, …"""
    return max(0, round((frames - 1) / grid)) * grid + 1


def frames_below(frames: int, grid: int) -> int:
    """The largest such number that is not above `frames`."""
    return max(0, (frames - 1) // grid) * grid + 1


def _learnt(denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> dict[str, int]:
    """Size, number of frames and their rate, where the configurations tell."""
    pixels = _pixels(vae)
    sides = {"width": denoiser.get("sample_width"), "height": denoiser.get("sample_height")}
    if vae.get("_class_name") == "AutoencoderKL":
        sides = dict.fromkeys(sides, denoiser.get("sample_size"))
    found = {name: side * pixels for name, side in sides.items() if isinstance(side, int)}
    frames = denoiser.get("num_frames") or denoiser.get("sample_frames")
    if isinstance(frames, int):
        found["num_frames"] = frames
    if denoiser.get("image_condition_type") == "token_replace":
        found["num_frames"] = 129
    if denoiser.get("_class_name") == "CogVideoXTransformer3DModel" and denoiser.get(
        "patch_size_t"
    ):
        found["fps"] = COGVIDEOX_15_FPS
    return found


def _pixels(vae: Mapping[str, Any]) -> int:
    """Of a latent's side."""
    levels = vae.get("block_out_channels") or ()
    return int(2 ** (len(levels) - 1)) if levels else 8
