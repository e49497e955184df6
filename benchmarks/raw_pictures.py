"""The peer of the picture benchmarks: the same pipeline, called in this process by diffusers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebox.core.os_support import usable_cpus
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.threads import torch_threads


@dataclass(frozen=True)
class Asked:
    """One picture."""

    prompt: str = "a red circle on a blue background"
    size: int = 256
    steps: int = 20
    guidance_scale: float = 7.5
    seed: int = 42

    def body(self, model: str, **more: Any) -> dict[str, Any]:
        """The same for `/v1/images/generations`."""
        return {
            "model": model,
            "prompt": self.prompt,
            "size": f"{self.size}x{self.size}",
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
            **more,
        }

    def task(self, model: str, **more: Any) -> dict[str, Any]:
        """The same for `/v1/tasks/text-to-image`."""
        body = self.body(model, width=self.size, height=self.size, **more)
        del body["size"]
        return body


@dataclass
class RawPipeline:
    """Same dtype and threads as the server's."""

    folder: Path
    device_id: str = "cpu"

    def __post_init__(self) -> None:
        import torch
        from diffusers import DiffusionPipeline

        (device,) = choose(detect(TorchBackend()), [self.device_id])
        if device.kind == "cpu":
            torch.set_num_threads(torch_threads(None, usable_cpus()))
        own = {"default": getattr(torch, device.dtype), "vae": getattr(torch, device.vae_dtype)}
        dtype: Any = own
        self.pipeline: Any = DiffusionPipeline.from_pretrained(self.folder, dtype=dtype)
        self.pipeline.to(device.torch_device)
        self.pipeline.set_progress_bar_config(disable=True)

    def png(self, asked: Asked) -> bytes:
        (png,) = self.pngs(asked, 1)
        return png

    def pngs(self, asked: Asked, n: int) -> list[bytes]:
        """`n` pictures in one call, of seeds that follow one another."""
        import torch

        with torch.inference_mode():
            images = self.pipeline(
                [asked.prompt] * n,
                num_inference_steps=asked.steps,
                width=asked.size,
                height=asked.size,
                guidance_scale=asked.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(asked.seed + i) for i in range(n)],
            ).images
        return [_encoded(image) for image in images]


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
