"""Views over one loaded copy of the weights, for every class of the table."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from onebox.imaging.diffusion.abilities import ROWS
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.recipe import Picture, Recipe
from onebox.imaging.diffusion.references import (
    MAX_PIXELS,
    MIN_SIDE,
    presentable,
    side_by_side,
)
from onebox.imaging.diffusion.views import call_arguments, make_view
from onebox.tasks.image_to_image import ImageToImage
from tests.families import drawing
from tests.families.pictures import FAMILY, device, entry
from tests.families.tiny_pipelines import Shelf

# What a view is given from elsewhere than the loaded pipeline's components and settings.
FROM_ELSEWHERE = {"self", "args", "kwargs"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: next(iter(row.values())))
def test_classes_of_a_row_take_the_same_components(row: dict[str, str]) -> None:
    import diffusers

    classes = [getattr(diffusers, name) for name in dict.fromkeys(row.values())]
    loaded = set(inspect.signature(classes[0].__init__).parameters)
    for other in classes[1:]:
        required = {
            name
            for name, parameter in inspect.signature(other.__init__).parameters.items()
            if parameter.default is inspect.Parameter.empty
        }
        assert required - loaded <= FROM_ELSEWHERE


@pytest.mark.parametrize("mode", ["image-to-image", "inpainting"])
def test_every_class_that_starts_from_pictures_takes_them_and_a_strength(mode: str) -> None:
    import diffusers

    for row in ROWS:
        if mode not in row:
            continue
        taken = inspect.signature(getattr(diffusers, row[mode]).__call__).parameters
        wanted = {"image", "strength", "generator", "num_inference_steps"}
        assert wanted | ({"mask_image"} if mode == "inpainting" else set()) <= set(taken)


@pytest.mark.parametrize("mode", ["text-to-image", "image-to-image", "inpainting"])
def test_a_view_shares_the_weights_and_has_a_scheduler_of_its_own(shelf: Shelf, mode: str) -> None:
    pipeline = shelf.bundle("sdxl").pipeline
    scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
    view = make_view(pipeline, mode, scheduler)  # type: ignore[arg-type]
    assert view.unet is pipeline.unet
    assert view.vae is pipeline.vae
    assert view.scheduler is scheduler
    assert view.scheduler is not pipeline.scheduler


def test_a_view_has_the_settings_of_the_loaded_pipeline(shelf: Shelf) -> None:
    pipeline = shelf.bundle("sdxl-refiner").pipeline
    view = make_view(pipeline, "inpainting", pipeline.scheduler)
    assert view.config.requires_aesthetics_score


def test_weights_that_cannot_do_it_have_no_view(shelf: Shelf) -> None:
    pipeline = shelf.bundle("flux-fill").pipeline
    with pytest.raises(KeyError):
        make_view(pipeline, "text-to-image", pipeline.scheduler)


def test_a_thin_stroke_of_a_mask_reaches_the_denoiser(shelf: Shelf) -> None:
    from PIL import Image

    mask = Image.new("L", (64, 64))
    mask.putpixel((33, 21), 255)
    recipe = Recipe("inpainting", 64, 64, 2, 5.0, strength=1.0)
    picture = Picture("x", None, 1, image=drawing.noise(1), mask=mask)
    seen = {}
    for model in ("sd", "flux-fill"):
        pipeline = shelf.bundle(model).pipeline
        view = make_view(pipeline, "inpainting", pipeline.scheduler)
        (seen[model],) = call_arguments(view, [picture], recipe)["mask_image"]
    # The tiny VAE makes one latent of 2x2 pixels; Fill sees every pixel.
    assert seen["sd"].getbbox() == (32, 20, 34, 22)
    assert seen["flux-fill"].getbbox() == (33, 21, 34, 22)


def test_a_vae_in_full_precision_beside_half_weights_stays_as_it_is(shelf: Shelf) -> None:
    import torch

    for model in ("sd", "sdxl", "flux"):
        folder = shelf.path(model)
        bundle = FAMILY.load(entry(folder), device("bfloat16", "float32"))
        assert isinstance(bundle, PipelineBundle)
        before = {name: t.clone() for name, t in bundle.pipeline.vae.state_dict().items()}
        picture = drawing.media(drawing.noise(1))
        (drawn,) = drawing.run(ImageToImage(), bundle, folder, steps=4, images=[picture])
        assert drawn.std() > 0
        for name, tensor in bundle.pipeline.vae.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, before[name])


def test_references_are_joined_at_one_height() -> None:
    red, blue = drawing.plain((255, 0, 0), (80, 160)), drawing.plain((0, 0, 255), (80, 80))
    joined = np.asarray(side_by_side([red, blue]))
    assert joined.shape == (160, 240, 3)
    assert (joined[:, :80] == (255, 0, 0)).all()
    assert (joined[:, 80:] == (0, 0, 255)).all()


def test_references_that_are_too_large_are_made_smaller_together() -> None:
    large = [drawing.plain((9, 9, 9), (3000, 2000)) for _ in range(2)]
    joined = side_by_side(large)
    assert joined.width * joined.height <= MAX_PIXELS
    assert joined.width / joined.height == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("size", [(8, 8), (700, 8), (9, 900), (64, 512)])
def test_a_reference_is_shown_in_a_size_and_shape_that_models_take(size: tuple[int, int]) -> None:
    width, height = presentable(drawing.plain((0, 0, 0), size)).size
    assert min(width, height) >= MIN_SIDE
    assert max(width, height) <= 8 * min(width, height)


def test_a_single_reference_stays_as_it_is() -> None:
    picture = drawing.noise(1, (90, 70))
    assert np.array_equal(np.asarray(side_by_side([picture])), np.asarray(picture))


def test_the_safety_checker_is_no_part_of_the_estimate(shelf: Shelf, tmp_path: Path) -> None:
    import shutil

    from onebox.registry.on_disk import open_on_disk

    folder = Path(shutil.copytree(shelf.path("sd"), tmp_path / "sd"))
    before = FAMILY.estimate(open_on_disk(folder), device())
    shutil.copytree(folder / "vae", folder / "safety_checker")
    assert FAMILY.estimate(open_on_disk(folder), device()) == before
