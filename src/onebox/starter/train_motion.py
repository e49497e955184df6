"""Trains `onebox-shapes-motion`, the small video model that ships with Onebox, on a CPU.

`python -m onebox.starter.train_motion --base ai-models/onebox-shapes --out DIR` runs the stages
latents, words, movement, outlines, export and score in turn; each leaves its result in the work
folder, so that one can be run again alone with `--stages`.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AnimateDiffPipeline, AutoencoderKL, UNet2DConditionModel, UNetMotionModel
from diffusers.training_utils import EMAModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter import motion_model, motion_stages, motion_text
from onebox.starter.motion_data import (
    MAX_FRAMES,
    clip_prompts,
    motion_words,
    still_scenes,
    training_clips,
)
from onebox.starter.motion_score import look_at
from onebox.starter.shapes_model import create_scheduler
from onebox.starter.shapes_stages import Rate
from onebox.starter.train_shapes import Work, export, tile

STAGES = ("latents", "words", "movement", "outlines", "export", "score")
CLIPS_SEED, STILLS_SEED = 31, 77
GUIDANCE, STEPS = 3.0, 10


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Shares, from 0 to 1, of `prompts` clips that show what was asked for.

    `direction` asks for the sign alone, `clearly` also for a tenth of the side and for more
    than along the other axis; `colours` looks at most frames, `steady` at all.
    """

    prompts: int
    frames: int
    guidance: float
    steps: int
    direction: float
    clearly: float
    colours: float
    steady: float
    shape: float


@dataclass(frozen=True, slots=True)
class Base:
    """The folder of `onebox-shapes`."""

    folder: Path

    def vae(self) -> AutoencoderKL:
        return AutoencoderKL.from_pretrained(self.folder / "vae", dtype=torch.float32)

    def unet(self) -> UNet2DConditionModel:
        return UNet2DConditionModel.from_pretrained(self.folder / "unet", dtype=torch.float32)

    def text(self) -> tuple[CLIPTextModel, CLIPTokenizer]:
        encoder = CLIPTextModel.from_pretrained(self.folder / "text_encoder", dtype=torch.float32)
        return encoder, CLIPTokenizer.from_pretrained(self.folder / "tokenizer")


def run_latents(work: Work, base: Base, clips: int, threads: int) -> None:
    """Encodes every frame once; the pictures that do not move are one for seven clips."""
    scenes = [scene for clip in training_clips(clips, CLIPS_SEED) for scene in clip.scenes]
    moving = motion_stages.encode_scenes(base.vae(), scenes, threads)
    stills = list(still_scenes(max(clips // 7, 1), STILLS_SEED))
    latents = {
        "moving": moving.view(clips, MAX_FRAMES, *moving.shape[1:]),
        "still": motion_stages.encode_scenes(base.vae(), stills, threads),
    }
    torch.save(latents, work.folder / "latents.pt")


def run_words(work: Work, base: Base) -> None:
    """Grows the text encoder by the words for motion and says what they mean."""
    known = base.text()
    encoder, tokenizer = motion_model.grow_text_encoder(*known, motion_words())
    tokenizer.save_pretrained(work.folder / "tokenizer")
    rate = Rate(peak=1e-3, steps=800, limit_s=300)
    motion_text.train_words(encoder, tokenizer, known, rate, work.log)
    rate = Rate(peak=7e-4, steps=260, limit_s=600)
    motion_text.train_by_pictures(encoder, tokenizer, known, base.unet(), rate, work.log)
    encoder.save_pretrained(work.folder / "text")


def run_movement(work: Work, base: Base, minutes: float, steps: int, threads: int) -> None:
    """Makes the picture UNet one for clips, and teaches it what goes where."""
    unet = motion_model.create_motion_unet(base.unet())
    rate = Rate(peak=1.5e-3, steps=steps, limit_s=60 * minutes, warm_up=0.03)
    _learn(work, base, unet, work.encoder(), motion_stages.MOVEMENT, rate, min(threads, 4))


def run_outlines(work: Work, base: Base, minutes: float, steps: int, threads: int) -> None:
    """Goes on where `run_movement` stopped, to get the shapes right where they now lie."""
    unet = UNetMotionModel.from_pretrained(work.folder / "unet").train()
    encoder = work.encoder("text-tuned").train()
    rate = Rate(peak=7e-4, steps=steps, limit_s=60 * minutes)
    _learn(work, base, unet, encoder, motion_stages.OUTLINES, rate, min(threads, 4))


def _learn(
    work: Work,
    base: Base,
    unet: UNetMotionModel,
    encoder: CLIPTextModel,
    recipe: motion_stages.Recipe,
    rate: Rate,
    workers: int,
) -> None:
    latents = torch.load(work.folder / "latents.pt")
    examples = motion_stages.Clips(
        list(training_clips(len(latents["moving"]), CLIPS_SEED)),
        latents["moving"],
        list(still_scenes(len(latents["still"]), STILLS_SEED)),
        latents["still"],
    )

    def after(step: int, average: EMAModel) -> None:
        if step % 500 == 0:
            save_and_try(work, base, unet, encoder, average, step)

    motion_stages.train_motion(
        unet,
        encoder,
        work.tokenizer(),
        examples,
        scheduler=create_scheduler(),
        recipe=recipe,
        rate=rate,
        log=work.log,
        after=after,
        workers=workers,
    )
    unet.save_pretrained(work.folder / "unet")
    encoder.save_pretrained(work.folder / "text-tuned")


def save_and_try(
    work: Work,
    base: Base,
    unet: UNetMotionModel,
    encoder: CLIPTextModel,
    average: EMAModel,
    step: int,
) -> None:
    """Keeps the averaged weights as a usable model and scores them on a few prompts."""
    both = nn.ModuleList([unet, encoder])
    average.store(both.parameters())
    average.copy_to(both.parameters())
    pipeline = motion_model.create_motion_pipeline(base.vae(), encoder, work.tokenizer(), unet)
    pipeline.save_pretrained(work.folder / "checkpoint")
    score, clips = measure(pipeline, 8, frames=8)
    average.restore(both.parameters())
    tile([frame for clip in clips for frame in clip], 8).save(work.folder / f"clips-{step:05d}.png")
    work.log(f"step {step}: {score}")


def run_export(work: Work, base: Base, out: Path) -> None:
    """Writes the model in half precision: first beside `out`, then moved into place."""
    unet = UNetMotionModel.from_pretrained(work.folder / "unet")
    encoder = work.encoder("text-tuned")
    pipeline = motion_model.create_motion_pipeline(base.vae(), encoder, work.tokenizer(), unet)
    export(pipeline, work.folder / "export", out)


def run_score(work: Work, out: Path, prompts: int) -> None:
    pipeline = AnimateDiffPipeline.from_pretrained(out, dtype=torch.float32)
    scores = []
    for frames in (MAX_FRAMES, 8):
        score, clips = measure(pipeline, prompts, frames)
        work.log(str(score))
        scores.append(asdict(score))
        rows = [frame for clip in clips[:24] for frame in clip[:: frames // 8]]
        tile(rows, 8, side=96).save(work.folder / f"score-{frames}.png")
    (work.folder / "score.json").write_text(json.dumps(scores, indent=2))


def measure(
    pipeline: AnimateDiffPipeline,
    prompts: int,
    frames: int,
    guidance: float = GUIDANCE,
    steps: int = STEPS,
    seed: int = 100_000,
) -> tuple[ClipScore, list[list[Image.Image]]]:
    """Draws and checks `prompts` clips; clip i is drawn with the seed `seed + i`."""
    pipeline.set_progress_bar_config(disable=True)
    clips, rows = [], []
    for i, ((colour, shape, background), direction, text) in enumerate(clip_prompts(prompts, seed)):
        clip = pipeline(
            text,
            num_frames=frames,
            guidance_scale=guidance,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed + i),
        ).frames[0]
        found = look_at(clip)
        both = found.colours == (colour, background)
        row = (found.goes(direction), found.goes_clearly(direction))
        rows.append((*row, both, both and found.steady, found.shape == shape))
        clips.append(clip)
    shares = [round(sum(column) / prompts, 3) for column in zip(*rows, strict=True)]
    return ClipScore(prompts, frames, guidance, steps, *shares), clips


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="onebox.starter.train_motion", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of onebox-shapes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument(
        "--work", type=Path, default=Path("motion-work"), help="folder of the stages"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument(
        "--minutes", type=float, default=30, help="limit of movement, and of outlines"
    )
    parser.add_argument(
        "--steps", type=int, default=8000, help="limit of movement, and of outlines"
    )
    parser.add_argument("--clips", type=int, default=1400, help="clips the UNet learns from")
    parser.add_argument("--prompts", type=int, default=100, help="prompts of the score")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    diffusers_logging.set_verbosity_error()
    work, base, most = Work(options.work), Base(options.base), options.steps
    run = {
        "latents": lambda: run_latents(work, base, options.clips, options.threads),
        "words": lambda: run_words(work, base),
        "movement": lambda: run_movement(work, base, options.minutes, most, options.threads),
        "outlines": lambda: run_outlines(work, base, options.minutes, most, options.threads),
        "export": lambda: run_export(work, base, options.out),
        "score": lambda: run_score(work, options.out, options.prompts),
    }
    for stage in STAGES:
        if stage in options.stages:
            torch.manual_seed(0)
            torch.set_num_threads(
                1 if stage in ("words", "movement", "outlines") else options.threads
            )
            work.log(f"stage {stage}")
            run[stage]()


if __name__ == "__main__":
    main()
