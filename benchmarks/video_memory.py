"""How much memory the decoding of a video takes, the longer beside the shorter one.

    .venv/bin/python -m benchmarks.video_memory [--frames 25 121] [--side 256] [--widths 4] \
        [--kind wan ...] [--at-once]

Each video has a process of its own, with the decoder of one class in random weights: its published
number of channels divided by `--widths`. The result, one byte for each value of each frame, is kept
as in a request. `--at-once` adds what the library takes for it in one go, with all frames in
floating point.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from benchmarks.figures import markdown
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.memory import MIB
from onebox.hardware.peak import PeakMeter

HEADER = ("decoder", "how", "frames", "beside the weights, MiB", "of the first", "s")
# Those whose pipelines hold latents as [1, frames, channels, h, w]; and those that take frames as
# so many pictures.
FRAMES_FIRST = ("AutoencoderKLTemporalDecoder", "AutoencoderKLCogVideoX")
FRAME_BY_FRAME = ("AutoencoderKL", "AutoencoderKLTemporalDecoder")


@dataclass(frozen=True)
class Asked:
    kind: str
    frames: int
    side: int
    widths: int
    device: str
    at_once: bool


@dataclass(frozen=True)
class Figures:
    """Bytes at the peak beside the weights, and seconds."""

    peak: int
    seconds: float


def flat(widths: int) -> tuple[Any, int, int]:
    """A decoder, its channels of latents, and frames for each of them."""
    from diffusers import AutoencoderKL

    channels = tuple(n // widths for n in (128, 256, 512, 512))
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    return vae, 4, 1


def temporal(widths: int) -> tuple[Any, int, int]:
    from diffusers import AutoencoderKLTemporalDecoder

    channels = tuple(max(32, n // widths) for n in (128, 256, 512, 512))
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=2,
    )
    return vae, 4, 1


def wan(widths: int) -> tuple[Any, int, int]:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(base_dim=96 // widths), 16, 4


def cogvideox(widths: int) -> tuple[Any, int, int]:
    from diffusers import AutoencoderKLCogVideoX

    vae = AutoencoderKLCogVideoX(
        block_out_channels=tuple(n // widths for n in (128, 256, 256, 512)),
        latent_channels=16,
    )
    return vae, 16, 4


def hunyuan(widths: int) -> tuple[Any, int, int]:
    from diffusers import AutoencoderKLHunyuanVideo

    channels = tuple(n // widths for n in (128, 256, 512, 512))
    return AutoencoderKLHunyuanVideo(block_out_channels=channels), 16, 4


def ltx(widths: int) -> tuple[Any, int, int]:
    from diffusers import AutoencoderKLLTXVideo

    channels = tuple(n // widths for n in (128, 256, 512, 512))
    vae = AutoencoderKLLTXVideo(block_out_channels=channels, decoder_block_out_channels=channels)
    return vae, 128, 8


KINDS: Mapping[str, Callable[[int], tuple[Any, int, int]]] = {
    "flat": flat,
    "temporal": temporal,
    "wan": wan,
    "cogvideox": cogvideox,
    "hunyuan": hunyuan,
    "ltx": ltx,
}


class Context:
    """A RunContext that lets it go on."""

    lean = False

    def hand_over(self) -> None:
        return

    def check(self) -> None:
        return


def measure(asked: Asked) -> Figures:
    import torch

    (device,) = choose(detect(TorchBackend()), [asked.device])
    torch.manual_seed(1)
    vae, channels, frames_each = KINDS[asked.kind](asked.widths)
    vae = vae.eval().to(device.torch_device)
    side = asked.side // (32 if asked.kind == "ltx" else 8)
    steps = (asked.frames - 1) // frames_each + 1
    latents = torch.randn(1, channels, steps, side, side, device=device.torch_device)
    decode = _at_once if asked.at_once else _in_chunks
    # The first try brings libraries into memory.
    decode(vae, latents[:, :, :3], asked.side, 2 * frames_each + 1)
    meter = PeakMeter(device)
    meter.start()
    started = time.perf_counter()
    made = decode(vae, latents, asked.side, asked.frames)
    seconds = time.perf_counter() - started
    peak = meter.stop()
    assert peak is not None, f"nobody can be asked what memory {device.id} takes"
    assert sum(map(len, made)) == asked.frames
    return Figures(peak, seconds)


def _in_chunks(vae: Any, latents: Any, side: int, frames: int) -> list[Any]:
    import torch
    from diffusers import LTXPipeline

    from onebox.imaging.video.decoding import decoded

    frames_first = type(vae).__name__ in FRAMES_FIRST
    pipeline = SimpleNamespace(
        vae=vae,
        vae_scaling_factor_image=1.0,
        vae_scale_factor_temporal=4,
        _denormalize_latents=LTXPipeline._denormalize_latents,
        maybe_free_model_hooks=lambda: None,
    )
    context: Any = Context()
    return list(
        decoded(
            pipeline,
            latents.transpose(1, 2) if frames_first else latents,
            frames=frames,
            width=side,
            height=side,
            generator=torch.Generator(),
            context=context,
        )
    )


def _at_once(vae: Any, latents: Any, side: int, frames: int) -> list[Any]:
    import torch

    names = type(vae).__name__
    with torch.inference_mode():
        if names in FRAME_BY_FRAME:
            counted = {"num_frames": frames} if names in FRAMES_FIRST else {}
            pixels = vae.decode(latents[0].transpose(0, 1), **counted).sample
        else:
            pixels = vae.decode(latents).sample[0].transpose(0, 1)
        values = (pixels.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1).cpu().numpy()
        return [(values * 255).round().astype("uint8")]


def in_process(asked: Asked) -> Figures:
    """Measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.video_memory", "--measure"]
    done = subprocess.run(
        [*command, json.dumps(asdict(asked))], stdout=subprocess.PIPE, check=True, text=True
    )
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 121])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--widths", type=int, default=4)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(asdict(measure(Asked(**json.loads(given.measure))))))
        return
    rows = []
    for kind in given.kind:
        for at_once in (False, True) if given.at_once else (False,):
            how = "at once" if at_once else "in chunks"
            first = 0
            for frames in given.frames:
                asked = Asked(kind, frames, given.side, given.widths, given.device, at_once)
                found = in_process(asked)
                first = first or found.peak
                times = f"{found.peak / first:.2f}"
                peak = f"{found.peak / MIB:.0f}"
                rows.append((kind, how, str(frames), peak, times, f"{found.seconds:.1f}"))
                print(*rows[-1], file=sys.stderr)
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()
