"""What pictures look like while they are drawn, on tiny pipelines of each kind of latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.contracts import Entry
from onebox.core.results import Output
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.latent_colours import encoded, fit_colours
from onebox.imaging.diffusion.previews import preview_steps
from tests.families.pictures import TASK, Context, resolve
from tests.families.tiny_pipelines import Shelf

# All whose latents are held in another way, or whose autoencoder is of another kind.
KINDS = [
    *("sd", "sdxl", "sd3", "lcm", "flux", "chroma", "pixart", "qwen-image", "flux2-klein"),
    *("z-image", "kolors", "pixart-alpha", "aura-flow", "cogview3", "cogview4"),
]
# Pixels that one of the preview's stands for, where it is not 2.
COARSE = {"sana": 32, "lumina2": 8, "hunyuan-dit": 8}


class Watching(Context):
    """A RunContext that keeps the previews, each with the step after which it came."""

    def __init__(self, folder: Path, **companions: Entry) -> None:
        super().__init__(folder)
        self.companions = companions
        self.seen: list[tuple[int, int, int]] = []
        self.previews: list[Output] = []

    def preview(self, request: int, picture: int, output: Output) -> None:
        self.seen.append((len(self.steps) + 1, request, picture))
        self.previews.append(output)


@pytest.mark.parametrize(
    ("previews", "steps", "after"),
    [(1, 20, {1}), (2, 20, {1, 11}), (3, 20, {1, 7, 14}), (3, 4, {1, 2, 3}), (3, 2, {1, 2})],
)
def test_the_first_comes_after_the_first_step_and_the_others_evenly(
    previews: int, steps: int, after: set[int]
) -> None:
    assert preview_steps(previews, steps) == after


@pytest.mark.parametrize("kind", [*KINDS, *COARSE])
def test_every_kind_of_latents_is_shown(shelf: Shelf, kind: str) -> None:
    folder, bundle = shelf.path(kind), shelf.bundle(kind)
    context = Watching(folder)
    request = resolve(folder, seed=1, steps=4, partial_images=2, width=96, height=64)
    (output,) = TASK.run(bundle, request, context)
    assert context.seen == [(1, 0, 0), (3, 0, 0)]
    for preview in context.previews:
        assert preview.kind == "preview"
        assert preview.value.dtype == np.uint8
        pixels = COARSE.get(kind, 2)
        assert preview.value.shape == (64 // pixels, 96 // pixels, 3)
        assert preview.options["size"] == (96, 64)
    assert output.value.size == (96, 64)


def test_each_picture_of_a_batch_is_shown_to_the_request_that_wants_it(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    asked = [
        resolve(tiny_sd, seed=1, n=2, partial_images=1, output_format="webp"),
        resolve(tiny_sd, seed=5),
        resolve(tiny_sd, seed=9, partial_images=2),
    ]
    context = Watching(tiny_sd)
    TASK.run_batch(bundle, asked, context)
    assert context.seen == [(1, 0, 0), (1, 0, 1), (1, 2, 0), (2, 2, 0)]
    assert [p.options["format"] for p in context.previews] == ["webp", "webp", "png", "png"]
    shown = [preview.value for preview in context.previews]
    assert not np.array_equal(shown[0], shown[1])


def test_being_watched_changes_no_bit_of_the_picture(bundle: PipelineBundle, tiny_sd: Path) -> None:
    for scheduler in (None, "euler_a", "unipc"):
        (plain,) = TASK.run(
            bundle, resolve(tiny_sd, seed=1, steps=4, scheduler=scheduler), Context(tiny_sd)
        )
        request = resolve(tiny_sd, seed=1, steps=4, scheduler=scheduler, partial_images=3)
        (watched,) = TASK.run(bundle, request, Watching(tiny_sd))
        assert np.array_equal(np.asarray(plain.value), np.asarray(watched.value))


class Blocks:
    """An autoencoder that mixes the colours of blocks of 8x8 pixels into four values."""

    def __init__(self, **config: Any) -> None:
        import torch

        self.config = {"block_out_channels": (1, 1, 1, 1), **config}
        self.dtype = torch.float32
        self._mix = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))

    def encode(self, pictures: Any) -> tuple[Any]:
        import torch

        frames = pictures[:, :, 0] if pictures.ndim == 5 else pictures
        latents = torch.einsum(
            "nchw,cd->ndhw", torch.nn.functional.avg_pool2d(frames, 8), self._mix
        )
        return (latents[:, :, None] if pictures.ndim == 5 else latents,)


@pytest.mark.parametrize(
    "config",
    [
        {"scaling_factor": 0.18},
        {"scaling_factor": 1.5, "shift_factor": 0.06},
        {
            "temperal_downsample": (True, True, False),
            "latents_mean": [0.1, -0.5, 0.3, 0.2],
            "latents_std": [1.0, 2.0, 0.5, 1.0],
        },
    ],
)
def test_the_colours_are_those_that_the_autoencoder_means(config: dict[str, Any]) -> None:
    import torch

    vae = Blocks(**config)
    wanted = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    latents = encoded(vae, torch.nn.functional.interpolate(wanted, scale_factor=8) * 2 - 1)
    painted = fit_colours(vae, "cpu").paint(latents)
    torch.testing.assert_close(painted, wanted, atol=1e-3, rtol=0)


def test_colours_are_fitted_once_for_a_loaded_model(bundle: PipelineBundle, tiny_sd: Path) -> None:
    runs: list[Any] = []
    hook = bundle.pipeline.vae.encoder.register_forward_pre_hook(
        lambda module, args: runs.append(args)
    )
    bundle.kept.clear()
    for _ in range(2):
        TASK.run(bundle, resolve(tiny_sd, seed=1, partial_images=1), Watching(tiny_sd))
    hook.remove()
    assert len(runs) == 1
