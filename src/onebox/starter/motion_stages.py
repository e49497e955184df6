"""The learning stages of `onebox-shapes-motion`: latents of the clips, then the video UNet."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNetMotionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter.motion_data import (
    MAX_FRAMES,
    REVERSED,
    Clip,
    loose_caption,
)
from onebox.starter.motion_model import motion_parts, show_frames
from onebox.starter.shapes_data import Scene, caption, draw
from onebox.starter.shapes_stages import Log, Rate, draw_times, optimise, to_tensor, tokens


def encode_scenes(vae: AutoencoderKL, scenes: Sequence[Scene], workers: int) -> Tensor:
    """The latents of the drawn scenes, (len(scenes), 4, 32, 32) in half precision."""
    vae = vae.to(memory_format=torch.channels_last)

    def encode(start: int) -> Tensor:
        pictures = torch.stack([to_tensor(draw(scene)) for scene in scenes[start : start + 4]])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents: Tensor = vae.encode(pictures).latent_dist.mean.half()
        return latents

    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
        return torch.cat(list(pool.map(encode, range(0, len(scenes), 4))))


@dataclass(frozen=True, slots=True)
class Clips:
    """What the UNet learns from.

    `moving` are the latents (n, MAX_FRAMES, 4, 32, 32) of `clips`, `still` those (m, 4, 32, 32)
    of `scenes`.
    """

    clips: Sequence[Clip]
    moving: Tensor
    scenes: Sequence[Scene]
    still: Tensor


BATCH = 16  # frames of all clips of a step together
STILL_SHARE, UNTOLD_SHARE = 0.12, 0.1


def draw_frames(rng: random.Random, part: float) -> list[int]:
    """The frames that are learnt from, of every clip of one step.

    A few frames anywhere at first: they lie far apart, and more clips have room in a step. The
    last 45 % of the time half of the steps have clips as they are asked for later, whole or cut
    off.
    """
    if part > 0.55 and rng.random() < 0.5:
        return list(range(rng.choice((8, MAX_FRAMES, MAX_FRAMES))))
    return sorted(rng.sample(range(MAX_FRAMES), rng.choice((4, 4, 4, 8))))


def random_clips(
    examples: Clips, frames: Sequence[int], rng: random.Random
) -> tuple[Tensor, list[str]]:
    """(clips, len(frames), 4, 32, 32) and a caption each; BATCH frames in all."""
    some = [_random_clip(examples, rng) for _ in range(BATCH // len(frames))]
    latents = torch.stack([latents[list(frames)] for latents, _ in some]).float()
    return latents, ["" if rng.random() < UNTOLD_SHARE else text for _, text in some]


def draw_noises(size: int, dice: torch.Generator, part: float) -> Tensor:
    """`size` timesteps from 0 to 999, one of each equal part of a slope towards the noisy end.

    Where the shape is in which frame is decided there; so at first that is mostly learnt.
    """
    even = (torch.arange(size) + torch.rand(size, generator=dice)) / size
    return (even ** (0.35 if part < 0.4 else 0.6) * 1000).long().clamp(0, 999)


def draw_outlines(size: int, dice: torch.Generator, part: float) -> Tensor:
    """`size` timesteps, most of them from where `onebox-shapes` learns its shapes."""
    return draw_times(size, dice, focused=True)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the UNet learns.

    For `frozen` of the time the layers over the frames learn alone: otherwise what the others
    know of places is unlearnt, as wrong for most frames, before the new layers can put it to
    use. Then the others learn too, at `share` of the rate. `noises` draws timesteps.
    """

    frozen: float
    share: float
    noises: Callable[[int, torch.Generator, float], Tensor]


MOVEMENT = Recipe(frozen=0.35, share=0.2, noises=draw_noises)
OUTLINES = Recipe(frozen=0, share=1, noises=draw_outlines)


def _random_clip(examples: Clips, rng: random.Random) -> tuple[Tensor, str]:
    if rng.random() < STILL_SHARE:
        chosen = rng.randrange(len(examples.still))
        still = examples.still[chosen].expand(MAX_FRAMES, -1, -1, -1)
        return still, caption(examples.scenes[chosen], rng)
    chosen = rng.randrange(len(examples.moving))
    clip, latents = examples.clips[chosen], examples.moving[chosen]
    assert clip.direction is not None
    direction = clip.direction
    if rng.random() < 0.5:
        latents, direction = latents.flip(0), REVERSED[direction]
    return latents, loose_caption(clip.combination, direction, rng)


def train_motion(
    unet: UNetMotionModel,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    examples: Clips,
    scheduler: DDIMScheduler,
    recipe: Recipe,
    rate: Rate,
    log: Log,
    after: Callable[[int, EMAModel], None],
    workers: int,
) -> None:
    """Learns to predict velocities of whole clips, the text encoder and the UNet together.

    Leaves the running averages of the weights in `unet` and `encoder`.
    """
    both = nn.ModuleList([unet, encoder])
    average = EMAModel(both.parameters(), decay=0.998)
    layers, rest = motion_parts(unet)
    choice = FrameChoice(unet)

    def loss_of(rng: random.Random, dice: torch.Generator, part: float) -> Tensor:
        choice.part = part
        for known in (rest, encoder):
            known.requires_grad_(part >= recipe.frozen)
        clean, texts = random_clips(examples, choice.frames, rng)
        size, frames = clean.shape[:2]
        clean = clean.transpose(1, 2)
        times = recipe.noises(size, dice, part)
        noise = torch.randn(clean.shape, generator=dice)
        noisy = scheduler.add_noise(clean, noise, times)
        wanted = scheduler.get_velocity(clean, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            read = encoder(tokens(tokenizer, texts)).last_hidden_state
            read = read.repeat_interleave(frames, dim=0)
            predicted = unet(noisy, times, read).sample
        return functional.mse_loss(predicted.float(), wanted)

    def follow(step: int) -> None:
        average.step(both.parameters())
        choice.show(range(MAX_FRAMES))
        after(step, average)
        choice.show(draw_frames(choice.rng, choice.part))

    losses = [
        partial(loss_of, random.Random(worker), torch.Generator().manual_seed(worker))
        for worker in range(workers)
    ]
    groups = [(layers, 1.0), (rest, recipe.share), (encoder, recipe.share)]
    optimise(groups, rate, losses, log, follow)
    choice.show(range(MAX_FRAMES))
    average.copy_to(both.parameters())


class FrameChoice:
    """Which frames all workers learn from in the present step."""

    def __init__(self, unet: UNetMotionModel) -> None:
        self.unet, self.rng, self.part = unet, random.Random(9), 0.0
        self.frames: Sequence[int] = range(MAX_FRAMES)

    def show(self, frames: Sequence[int]) -> None:
        self.frames = frames
        show_frames(self.unet, frames)
