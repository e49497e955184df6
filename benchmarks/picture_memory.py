"""What a picture model's memory modes save and cost: memory and time of one picture with each.

    .venv/bin/python -m benchmarks.picture_memory FOLDER [--size 768x512] [--steps 2] [--rounds 3]

Each mode has a process of its own, which loads the diffusers folder as the server does, draws a
small picture unmeasured, and then the one that is asked for `--rounds` times. Decoders work in
tiles only where a side is longer than those of the pictures that they learnt. A folder of full size
with random weights comes from `benchmarks.random_pipelines`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import markdown
from onebox.core.contracts import Device, Entry, TaskDefaults
from onebox.core.media import MediaRef
from onebox.core.os_support import usable_cpus
from onebox.core.results import Output
from onebox.families.image_diffusion import ImageDiffusion
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.memory import MIB
from onebox.hardware.peak import PeakMeter
from onebox.hardware.threads import torch_threads
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.text_to_image import TextToImage, TextToImageInput

LEAN = "lean second try"
SMALL = (256, 256)
# What `onebox.toml` says.
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "vae_tiling": {"memory": ["vae_tiling"]},
    "attention_slicing": {"memory": ["attention_slicing"]},
    "fp8": {"quantization": "fp8"},
    "fp8 and vae_tiling": {"quantization": "fp8", "memory": ["vae_tiling"]},
    LEAN: {},
}
# The same for devices with memory of their own.
OFFLOADS: dict[str, dict[str, Any]] = {
    "cpu_offload": {"memory": ["cpu_offload"]},
    "sequential_offload": {"memory": ["sequential_offload"]},
}
HEADER = ("mode", "weights, MiB", "picture, MiB", "picture, s", "step, s", "decoding, s")


@dataclass(frozen=True)
class Asked:
    """What is drawn, how often, and on what."""

    folder: str
    device: str
    size: tuple[int, int]
    steps: int
    rounds: int


@dataclass(frozen=True)
class Figures:
    """Bytes of the weights, and beside them at the peak; medians of seconds.

    `decode_s` is all that follows the last step.
    """

    weights: int
    peak: int
    picture_s: float
    step_s: float
    decode_s: float


@dataclass
class Context:
    """A RunContext that notes when each step ended."""

    device: Device
    entry: Entry
    lean: bool
    ended: list[float] = field(default_factory=list)

    @property
    def companions(self) -> dict[str, Entry]:
        return {}

    def check(self) -> None:
        return

    def hand_over(self) -> None:
        return

    def step(self, step: int, steps: int) -> None:
        self.ended.append(time.perf_counter())

    def read(self, media: MediaRef) -> bytes:
        raise AssertionError("no picture is sent")

    def delta(self, data: dict[str, Any]) -> None:
        raise AssertionError("nothing is streamed")

    def part(self, output: Output) -> None:
        raise AssertionError("nothing is streamed")

    def preview(self, request: int, picture: int, output: Output) -> None:
        raise AssertionError("nothing is shown")


def measure(mode: str, asked: Asked) -> Figures:
    import torch

    (device,) = choose(detect(TorchBackend()), [asked.device])
    if device.kind == "cpu":
        torch.set_num_threads(torch_threads(None, usable_cpus()))
    family, task = ImageDiffusion(), TextToImage()
    family.warm_up()
    entry = _entry(family, Path(asked.folder), {**MODES, **OFFLOADS}[mode])
    bundle: Any = family.load(entry, device)
    requests = [
        task.resolve(_input(size, asked.steps), entry, TaskDefaults(asked.steps, 7.5))
        for size in (SMALL, *[asked.size] * asked.rounds)
    ]
    peaks, pictures, steps, decodings = [], [], [], []
    for number, request in enumerate(requests):
        context, meter = Context(device, entry, lean=mode == LEAN), PeakMeter(device)
        meter.start()
        started = time.perf_counter()
        task.run(bundle, request, context)
        ended = time.perf_counter()
        peak = meter.stop()
        assert len(context.ended) == asked.steps, "it was drawn again in full precision"
        if number == 0:
            continue
        peaks.append(peak or 0)
        pictures.append(ended - started)
        steps += [b - a for a, b in zip(context.ended, context.ended[1:], strict=False)]
        decodings.append(ended - context.ended[-1])
    return Figures(
        bundle.size_bytes, max(peaks), *map(statistics.median, (pictures, steps, decodings))
    )


def _input(size: tuple[int, int], steps: int) -> TextToImageInput:
    # With this scheduler the model is asked once for each step.
    return TextToImageInput(
        prompt="a red circle", seed=1, steps=steps, width=size[0], height=size[1], scheduler="ddim"
    )


def _entry(family: ImageDiffusion, folder: Path, overrides: dict[str, Any]) -> Entry:
    match = family.matches(open_on_disk(folder))
    assert match is not None
    return Entry(
        key=str(folder),
        name=folder.name,
        path=str(folder),
        extension="",
        size_bytes=0,
        status="ready",
        family=family.name,
        kind=match.kind,
        facts=dict(match.facts),
        overrides=overrides,
    )


def measure_apart(mode: str, asked: Asked) -> Figures:
    """The same in a process of its own: what one mode allocated is not there for the next."""
    order = json.dumps({"mode": mode, "asked": asdict(asked)})
    command = [sys.executable, "-m", "benchmarks.picture_memory", "--one", order]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def row(mode: str, figures: Figures) -> tuple[str, ...]:
    memory = (figures.weights, figures.peak)
    times = (figures.picture_s, figures.step_s, figures.decode_s)
    return mode, *(f"{size / MIB:,.0f}" for size in memory), *(f"{s:.2f}" for s in times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--steps", type=int, default=2, help="at least 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        order = json.loads(given.one)
        print(json.dumps(asdict(measure(order["mode"], Asked(**order["asked"])))))
        return
    width, height = map(int, given.size.split("x"))
    asked = Asked(given.folder, given.device, (width, height), given.steps, given.rounds)
    modes = MODES if given.device == "cpu" else {**MODES, **OFFLOADS}
    rows = []
    for mode in modes:
        rows.append(row(mode, measure_apart(mode, asked)))
        print(*rows[-1], sep="  ", flush=True)
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    main()
