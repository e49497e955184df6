"""Trains `onebox-shapes`, the small Stable Diffusion model that ships with Onebox, on a CPU.

`python -m onebox.starter.train_shapes --out DIR` runs the stages text, vae, latents, unet,
export and score in turn; each leaves its result in the work folder, so that one can be
run again alone with `--stages`.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter import shapes_model, shapes_stages
from onebox.starter.shapes_data import (
    POSITIONS,
    SIZES,
    caption_words,
    held_out,
    score_prompts,
    word_prompts,
)
from onebox.starter.shapes_score import classify_shape, dominant_colours, shows_word
from onebox.starter.shapes_stages import Rate

STAGES = ("text", "vae", "latents", "unet", "export", "score")


@dataclass(frozen=True, slots=True)
class Score:
    """Shares, from 0 to 1, of `prompts` pictures that show what was asked for."""

    prompts: int
    guidance: float
    steps: int
    foreground: float
    background: float
    both_colours: float
    shape: float
    all: float
    all_seen: float
    all_held_out: float


class Work:
    """The work folder and its log; the stages find one another's results here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begin = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, text: str) -> None:
        line = f"[{time.monotonic() - self.begin:6.0f} s] {text}"
        print(line, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(line + "\n")

    def tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.folder / "tokenizer")

    def encoder(self, name: str = "text") -> CLIPTextModel:
        return CLIPTextModel.from_pretrained(self.folder / name)

    def vae(self) -> AutoencoderKL:
        return AutoencoderKL.from_pretrained(self.folder / "vae")


def run_text(work: Work, minutes: float) -> None:
    tokenizer = shapes_model.create_tokenizer(caption_words())
    tokenizer.save_pretrained(work.folder / "tokenizer")
    encoder = shapes_model.create_text_encoder(tokenizer)
    rate = Rate(peak=1e-3, steps=600, limit_s=60 * minutes)
    shapes_stages.train_text(encoder, tokenizer, rate, work.log)
    encoder.save_pretrained(work.folder / "text")


def run_vae(work: Work, minutes: float) -> None:
    vae = shapes_model.create_vae()
    rate = Rate(peak=2e-3, steps=3200, limit_s=60 * minutes)
    shapes_stages.train_vae(vae, rate, work.log)
    vae.save_pretrained(work.folder / "vae-raw")


def run_latents(work: Work, pictures: int, threads: int) -> None:
    """Also gives every latent channel mean 0 and deviation 1, by a change of the VAE."""
    vae, tokenizer = AutoencoderKL.from_pretrained(work.folder / "vae-raw"), work.tokenizer()
    few = shapes_stages.encode_examples(vae, tokenizer, 400, threads).latents.float()
    shapes_model.normalise_latents(vae, few.mean((0, 2, 3)), few.std((0, 2, 3)))
    vae.save_pretrained(work.folder / "vae")
    examples = shapes_stages.encode_examples(vae, tokenizer, pictures, threads)
    torch.save(
        {"latents": examples.latents, "captions": examples.captions}, work.folder / "latents.pt"
    )


def run_unet(work: Work, minutes: float, steps: int, threads: int) -> None:
    unet, encoder = shapes_model.create_unet(), work.encoder()
    tokenizer = work.tokenizer()
    examples = shapes_stages.Examples(**torch.load(work.folder / "latents.pt"))

    def after(step: int, average: EMAModel) -> None:
        if step % 1000 == 0:
            save_and_try(work, unet, encoder, average, step)

    shapes_stages.train_unet(
        unet,
        encoder,
        examples,
        empty=shapes_stages.tokens(tokenizer, [""]),
        scheduler=shapes_model.create_scheduler(),
        rate=Rate(peak=1e-3, steps=steps, limit_s=60 * minutes, warm_up=0.02),
        log=work.log,
        after=after,
        workers=min(threads, 4),
    )
    unet.save_pretrained(work.folder / "unet")
    encoder.save_pretrained(work.folder / "text-tuned")


def save_and_try(
    work: Work, unet: UNet2DConditionModel, encoder: CLIPTextModel, average: EMAModel, step: int
) -> None:
    """Keeps the averaged weights as a usable model and scores them on a few prompts."""
    both = nn.ModuleList([unet, encoder])
    state = torch.get_rng_state()
    average.store(both.parameters())
    average.copy_to(both.parameters())
    pipeline = shapes_model.create_pipeline(work.vae(), encoder, work.tokenizer(), unet)
    pipeline.save_pretrained(work.folder / "checkpoint")
    score, pictures = measure(pipeline, 24, guidance=7.5, steps=20)
    average.restore(both.parameters())
    torch.set_rng_state(state)
    tile(pictures, 8).save(work.folder / f"samples-{step:05d}.png")
    work.log(f"step {step}: {score}")


def run_export(work: Work, out: Path) -> None:
    """Writes the model in half precision: first beside `out`, then moved into place."""
    unet = UNet2DConditionModel.from_pretrained(work.folder / "unet")
    pipeline = shapes_model.create_pipeline(
        work.vae(), work.encoder("text-tuned"), work.tokenizer(), unet
    )
    export(pipeline, work.folder / "export", out)


def export(pipeline: StableDiffusionPipeline, new: Path, out: Path) -> None:
    shutil.rmtree(new, ignore_errors=True)
    # Else the configurations would name the folders of whoever trained it.
    for part in (pipeline.unet, pipeline.vae):
        part.register_to_config(_name_or_path=out.name)
    pipeline.to(torch.float16).save_pretrained(new, safe_serialization=True)
    for kept in ("README.md", "grid.png", "onebox.toml"):
        if (out / kept).exists():
            shutil.copy(out / kept, new / kept)
    if out.exists():
        old = new.with_name("replaced")
        shutil.rmtree(old, ignore_errors=True)
        shutil.move(out, old)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(new, out)


def run_score(work: Work, out: Path, prompts: int) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(out, dtype=torch.float32)
    scores = []
    for guidance, steps in ((7.5, 20), (7.5, 30), (5.0, 20), (3.0, 20)):
        score, pictures = measure(pipeline, prompts, guidance, steps)
        work.log(str(score))
        scores.append(asdict(score))
        tile(pictures[:60], 10).save(work.folder / f"score-{guidance}-{steps}.png")
    words = {
        word: measure_word(pipeline, word, 30) for word in (*SIZES, *POSITIONS, "two", "three")
    }
    work.log(f"words: {words}")
    result = {"scores": scores, "words": words}
    (work.folder / "score.json").write_text(json.dumps(result, indent=2))


def generate(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seed: int,
    guidance: float,
    steps: int,
) -> list[Image.Image]:
    """One picture for each prompt; prompt i is drawn with the seed `seed + i`."""
    pipeline.set_progress_bar_config(disable=True)
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), 20):
        some = list(prompts[start : start + 20])
        seeds = [torch.Generator().manual_seed(seed + start + i) for i in range(len(some))]
        result = pipeline(some, generator=seeds, guidance_scale=guidance, num_inference_steps=steps)
        pictures += result.images
    return pictures


def measure(
    pipeline: StableDiffusionPipeline,
    prompts: int,
    guidance: float,
    steps: int,
    seed: int = 100_000,
) -> tuple[Score, list[Image.Image]]:
    """Draws and checks `prompts` pictures of which a fifth are held-out combinations."""
    wanted = score_prompts(prompts, seed)
    pictures = generate(pipeline, [text for _, text in wanted], seed, guidance, steps)
    rows = []
    for (colour, shape, background), picture in zip((c for c, _ in wanted), pictures, strict=True):
        got = dominant_colours(picture)
        fore, back = got[0] == colour, got[1] == background
        right = classify_shape(picture) == shape
        rows.append((fore, back, fore and back, right, fore and back and right))
    unseen = [combination in held_out() for combination, _ in wanted]
    fores, backs, both, shapes, every = (_share([row[i] for row in rows]) for i in range(5))
    seen = _share([r[4] for r, new in zip(rows, unseen, strict=True) if not new])
    new = _share([r[4] for r, new in zip(rows, unseen, strict=True) if new])
    score = Score(prompts, guidance, steps, fores, backs, both, shapes, every, seen, new)
    return score, pictures


def measure_word(pipeline: StableDiffusionPipeline, word: str, prompts: int) -> float:
    """The share of pictures, at 20 steps, that agree with one size, position or count word."""
    pictures = generate(pipeline, word_prompts(word, prompts, 1), 200_000, guidance=7.5, steps=20)
    return _share([shows_word(picture, word) for picture in pictures])


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / max(len(hits), 1), 3)


def tile(pictures: Sequence[Image.Image], columns: int, side: int = 128) -> Image.Image:
    """The pictures as one grid, each `side` pixels square."""
    rows = -(-len(pictures) // columns)
    grid = Image.new("RGB", (columns * side, rows * side))
    for i, picture in enumerate(pictures):
        grid.paste(picture.resize((side, side)), (i % columns * side, i // columns * side))
    return grid


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="onebox.starter.train_shapes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument(
        "--work", type=Path, default=Path("shapes-work"), help="folder of the stages"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--minutes", type=float, default=60, help="limit of the UNet stage")
    parser.add_argument("--steps", type=int, default=16000, help="limit of the UNet stage")
    parser.add_argument("--vae-minutes", type=float, default=8)
    parser.add_argument("--pictures", type=int, default=8000, help="pictures the UNet learns from")
    parser.add_argument("--prompts", type=int, default=200, help="prompts of the score")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    diffusers_logging.set_verbosity_error()
    work = Work(options.work)
    run = {
        "text": lambda: run_text(work, 1),
        "vae": lambda: run_vae(work, options.vae_minutes),
        "latents": lambda: run_latents(work, options.pictures, options.threads),
        "unet": lambda: run_unet(work, options.minutes, options.steps, options.threads),
        "export": lambda: run_export(work, options.out),
        "score": lambda: run_score(work, options.out, options.prompts),
    }
    for stage in STAGES:
        if stage in options.stages:
            torch.manual_seed(0)
            torch.set_num_threads(1 if stage == "unet" else options.threads)
            work.log(f"stage {stage}")
            run[stage]()


if __name__ == "__main__":
    main()
