"""The learning stages of `onebox-shapes`: text encoder, VAE, latents, UNet.

Each takes what the stage before left and a time limit, and trains in place.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter.shapes_data import (
    LABEL_COUNTS,
    caption,
    draw,
    main_caption,
    scene_labels,
    training_examples,
)

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rate:
    """A one-cycle learning rate that follows steps or the clock, whichever ends first."""

    peak: float
    steps: int
    limit_s: float
    warm_up: float = 0.05

    def part(self, step: int, elapsed_s: float) -> float:
        """How much of the stage is over, from 0 to 1."""
        return min(max(step / self.steps, elapsed_s / self.limit_s), 1.0)

    def at(self, part: float) -> float:
        """The learning rate when so much of the stage is over: up a line, down a cosine."""
        if part < self.warm_up:
            return self.peak * (part + 1e-3) / self.warm_up
        fall = (part - self.warm_up) / (1 - self.warm_up)
        return self.peak * (0.505 + 0.5 * float(np.cos(np.pi * fall)))


def optimise(
    groups: Sequence[tuple[nn.Module, float]],
    rate: Rate,
    losses: Sequence[Callable[[float], Tensor]],
    log: Log,
    after: Callable[[int], None] = lambda step: None,
) -> None:
    """Runs AdamW on (module, share of the rate) pairs until the rate ends.

    Each step follows the mean of `losses`, which are told how much of the stage is over.
    Where there are several, each is computed on a thread of its own with one core: on a
    machine that has other work to do, that is many times faster than operations which are
    split over all cores and wait for the slowest.
    """
    optimiser = torch.optim.AdamW(
        [{"params": list(module.parameters()), "share": share} for module, share in groups],
        lr=rate.peak,
        betas=(0.9, 0.99),
        weight_decay=0.01,
        fused=True,
    )
    parameters = [p for module, _ in groups for p in module.parameters()]

    def descend(loss_of: Callable[[float], Tensor], part: float) -> float:
        loss = loss_of(part) / len(losses)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return float(loss.detach())

    begin, recent = time.monotonic(), 0.0
    with ThreadPoolExecutor(len(losses), initializer=lambda: torch.set_num_threads(1)) as pool:
        run = map if len(losses) == 1 else pool.map
        for step in itertools.count(1):
            elapsed_s = time.monotonic() - begin
            part = rate.part(step - 1, elapsed_s)
            if part == 1:
                return
            for group in optimiser.param_groups:
                group["lr"] = rate.at(part) * group["share"]
            optimiser.zero_grad(set_to_none=True)
            recent += sum(run(descend, losses, [part] * len(losses)))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if step % 100 == 0:
                log(f"step {step} loss {recent / 100:.4f} at {elapsed_s:.0f} s")
                recent = 0.0
            after(step)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as (3, height, width) from -1 to 1."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)


def tokens(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """(len(captions), MAX_TOKENS) ids."""
    ids = tokenizer(list(captions), padding="max_length", truncation=True)["input_ids"]
    return torch.tensor(ids)


def train_text(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, rate: Rate, log: Log) -> None:
    """Tells captions apart before the UNet looks at them.

    A linear probe reads colour, shape, background, size, position and count from the end
    token. Without this the captions' outputs differ so little that the UNet ignores them.
    """
    scenes = [scene for scene, _ in training_examples(8000, seed=3)]
    ids = tokens(tokenizer, [main_caption(scene) for scene in scenes])
    labels = torch.tensor([scene_labels(scene) for scene in scenes])
    probe = nn.Linear(encoder.config.hidden_size, sum(LABEL_COUNTS))
    hits: list[float] = []

    def loss_of(part: float) -> Tensor:
        batch = torch.randint(0, len(scenes), (64,))
        output = encoder(ids[batch])
        parts = probe(output.pooler_output).split(LABEL_COUNTS, dim=1)
        wanted = labels[batch].unbind(dim=1)
        right = torch.stack([p.argmax(1) == w for p, w in zip(parts, wanted, strict=True)])
        hits.append(float(right.all(dim=0).float().mean()))
        losses = [functional.cross_entropy(p, w) for p, w in zip(parts, wanted, strict=True)]
        return torch.stack(losses).sum()

    optimise([(encoder, 1.0), (probe, 1.0)], rate, [loss_of], log)
    log(f"captions read entirely right: {np.mean(hits[-50:]):.3f}")


def crops(seed: int, count: int, side: int) -> Iterator[Tensor]:
    """Batches (count, 3, side, side) cut from fresh pictures, two of three near an edge.

    A third of them have their colours moved at random, so that the VAE knows more colours
    than the eight.
    """
    rng = random.Random(seed)
    examples = training_examples(10**9, seed)
    while True:
        cut = []
        for scene, _ in itertools.islice(examples, count // 2):
            picture = to_tensor(draw(scene))
            for _ in range(2):
                x, y = (rng.randrange(256 - side + 1) for _ in range(2))
                place = rng.choice(scene.places)
                if rng.random() < 0.67:
                    x, y = (
                        _around(rng, centre, place.radius, side) for centre in (place.x, place.y)
                    )
                cut.append(_recoloured(rng, picture[:, y : y + side, x : x + side]))
        yield torch.stack(cut)


def _around(rng: random.Random, centre: float, radius: float, side: int) -> int:
    start = int(centre + rng.uniform(-radius, radius)) - side // 2
    return min(max(start, 0), 256 - side)


def _recoloured(rng: random.Random, picture: Tensor) -> Tensor:
    if rng.random() > 0.33:
        return picture
    share, colour = rng.uniform(0.2, 1), torch.tensor([rng.uniform(-1, 1) for _ in range(3)])
    return picture[rng.sample(range(3), 3)] * share + (1 - share) * colour[:, None, None]


def train_vae(vae: AutoencoderKL, rate: Rate, log: Log) -> None:
    """Learns to rebuild crops: of 64 pixels first, of 128 for the last fifth.

    The first three latent channels are pulled towards the crop's own colours, eight times
    smaller: colours are then learnt at once, and lie apart for the UNet.
    """
    small, large = crops(11, 16, 64), crops(12, 4, 128)

    def loss_of(part: float) -> Tensor:
        pictures = next(small if part < 0.8 else large)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pictures).latent_dist
            rebuilt = vae.decode(posterior.sample()).sample.float()
        guide = functional.mse_loss(
            posterior.mean[:, :3].float(), 1.5 * functional.avg_pool2d(pictures, 8)
        )
        drift = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
        error = functional.l1_loss(rebuilt, pictures) + functional.mse_loss(rebuilt, pictures)
        loss: Tensor = error + 0.1 * guide + 3e-4 * drift
        return loss

    optimise([(vae, 1.0)], rate, [loss_of], log)


@dataclass(frozen=True, slots=True)
class Examples:
    """What the UNet learns from: latents (n, 4, 32, 32), ids of captions (n, k, MAX_TOKENS)."""

    latents: Tensor
    captions: Tensor


def encode_examples(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, count: int, workers: int
) -> Examples:
    """Draws and encodes `count` scenes once, each with four captions to choose from."""
    rng = random.Random(5)
    scenes = [scene for scene, _ in training_examples(count, seed=21)]
    # Few at a time and channels last: what a layer makes then stays in the cache.
    vae = vae.to(memory_format=torch.channels_last)

    def encode(start: int) -> Tensor:
        pictures = torch.stack([to_tensor(draw(scene)) for scene in scenes[start : start + 4]])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            latents: Tensor = vae.encode(pictures).latent_dist.mean.half()
        return latents

    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
        latents = torch.cat(list(pool.map(encode, range(0, count, 4))))
    captions = [caption(scene, rng) for scene in scenes for _ in range(4)]
    return Examples(latents, tokens(tokenizer, captions).view(count, 4, -1))


def draw_times(size: int, dice: torch.Generator, focused: bool) -> Tensor:
    """`size` timesteps from 0 to 999, one of each equal part: less noise in the gradient.

    Colours are learnt from the noisiest steps, shapes from those around 700: five of eight
    are drawn there when `focused`.
    """
    even = (torch.arange(size) + torch.rand(size, generator=dice)) / size
    if focused:
        few = size * 5 // 8
        part = (torch.arange(few) + torch.rand(few, generator=dice)) / few
        middle = torch.sigmoid(0.8 + 0.9 * torch.special.ndtri(part))
        rest = (torch.arange(size - few) + torch.rand(size - few, generator=dice)) / (size - few)
        even = torch.cat([middle, rest])
    return (even * 1000).long().clamp(0, 999)


def train_unet(
    unet: UNet2DConditionModel,
    encoder: CLIPTextModel,
    examples: Examples,
    empty: Tensor,
    scheduler: DDIMScheduler,
    rate: Rate,
    log: Log,
    after: Callable[[int, EMAModel], None],
    workers: int,
    batch: int = 16,
) -> None:
    """Learns to predict velocities; one caption of ten is replaced by the `empty` ids.

    Leaves the running averages of the weights in `unet` and `encoder`.
    """
    both = nn.ModuleList([unet, encoder])
    average = EMAModel(both.parameters(), decay=0.999)

    def loss_of(dice: torch.Generator, part: float) -> Tensor:
        size = batch // workers
        chosen = torch.randint(0, len(examples.latents), (size,), generator=dice)
        clean = examples.latents[chosen].float()
        ids = examples.captions[chosen, torch.randint(0, 4, (size,), generator=dice)]
        ids = torch.where(torch.rand(size, 1, generator=dice) < 0.1, empty, ids)
        times = draw_times(size, dice, focused=part > 0.4)
        noise = torch.randn(clean.shape, generator=dice)
        noisy = scheduler.add_noise(clean, noise, times)
        wanted = scheduler.get_velocity(clean, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(noisy, times, encoder(ids).last_hidden_state).sample
        return functional.mse_loss(predicted.float(), wanted)

    def follow(step: int) -> None:
        average.step(both.parameters())
        after(step, average)

    dices = [torch.Generator().manual_seed(worker) for worker in range(workers)]
    losses = [partial(loss_of, dice) for dice in dices]
    optimise([(unet, 1.0), (encoder, 0.2)], rate, losses, log, follow)
    average.copy_to(both.parameters())
