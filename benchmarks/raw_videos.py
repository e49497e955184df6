"""The peer of the video benchmark: the same pipeline, called in this process by diffusers, and its
frames encoded by PyAV.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebox.core.os_support import usable_cpus
from onebox.encoders.video_codecs import BT709, KEY_FRAME_S, QUALITY, THREADS, X264
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.threads import torch_threads


@dataclass(frozen=True)
class Asked:
    """One video."""

    prompt: str = "a red circle moving right on a blue background"
    width: int = 128
    height: int = 128
    frames: int = 16
    fps: int = 8
    steps: int = 20
    guidance_scale: float = 7.5
    seed: int = 42

    def task(self, model: str) -> dict[str, Any]:
        """The same for `/v1/tasks/text-to-video`."""
        return {
            "model": model,
            "prompt": self.prompt,
            "width": self.width,
            "height": self.height,
            "num_frames": self.frames,
            "fps": self.fps,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
        }

    def generation(self, model: str) -> dict[str, Any]:
        """The same for `/v1/videos/generations`."""
        body = self.task(model)
        size = f"{body.pop('width')}x{body.pop('height')}"
        return {**body, "size": size}


class RawVideos:
    """Same dtype and threads as the server's.

    Args:
        folder: of a pipeline, or of a motion adapter.
        base: the picture model that an adapter stands on.
    """

    def __init__(self, folder: Path, base: Path, device_id: str = "cpu") -> None:
        import torch

        (device,) = choose(detect(TorchBackend()), [device_id])
        if device.kind == "cpu":
            torch.set_num_threads(torch_threads(None, usable_cpus()))
        dtypes = {"default": getattr(torch, device.dtype), "vae": getattr(torch, device.vae_dtype)}
        self.pipeline: Any = _loaded(folder, base, dtypes)
        self.pipeline.to(device.torch_device)
        self.pipeline.set_progress_bar_config(disable=True)

    def mp4(self, asked: Asked) -> bytes:
        return encoded(self.frames(asked), asked.fps)

    def frames(self, asked: Asked) -> Any:
        """[n, h, w, 3] of uint8: drawn and decoded as diffusers' own call does it."""
        import inspect

        import torch

        told = inspect.signature(type(self.pipeline).__call__).parameters
        rate = {"frame_rate": asked.fps} if "frame_rate" in told else {}
        with torch.inference_mode():
            result = self.pipeline(
                asked.prompt,
                num_inference_steps=asked.steps,
                width=asked.width,
                height=asked.height,
                num_frames=asked.frames,
                guidance_scale=asked.guidance_scale,
                generator=torch.Generator("cpu").manual_seed(asked.seed),
                output_type="np",
                **rate,
            )
        return (result.frames[0] * 255).round().astype("uint8")


def _loaded(folder: Path, base: Path, dtypes: Any) -> Any:
    from diffusers import AnimateDiffPipeline, DiffusionPipeline, MotionAdapter

    if (folder / "model_index.json").exists():
        return DiffusionPipeline.from_pretrained(folder, dtype=dtypes)
    kind = json.loads((folder / "config.json").read_text())["_class_name"]
    assert kind == "MotionAdapter", f"{folder} holds a {kind}"
    adapter = MotionAdapter.from_pretrained(folder, dtype=dtypes["default"])
    return AnimateDiffPipeline.from_pretrained(base, motion_adapter=adapter, dtype=dtypes)


def encoded(frames: Any, fps: int) -> bytes:
    """H.264 with the settings of the server, its index in front, through a file."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        options = {"movflags": "+faststart"}
        with av.open(path, "w", format="mp4", options=options) as container:
            stream: Any = container.add_stream(
                X264.name, rate=fps, options=X264.options_for(QUALITY)
            )
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.thread_count = THREADS
            context.gop_size = math.ceil(KEY_FRAME_S * fps)
            context.color_range = context.colorspace = BT709
            context.color_primaries = context.color_trc = BT709
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    src_color_range=ColorRange.JPEG,
                    dst_color_range=ColorRange.MPEG,
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()
