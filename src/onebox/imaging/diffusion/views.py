"""Views of a loaded pipeline: for each mode the class that does it, all over the same weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onebox.imaging.diffusion.abilities import SHOWN_SINGLY, class_for
from onebox.imaging.diffusion.recipe import Mode, Picture, Recipe
from onebox.imaging.diffusion.references import presentable, side_by_side

Given = dict[str, Any]


def make_view(pipeline: Any, mode: Mode, scheduler: Any) -> Any:
    """A pipeline over the same weights, with a scheduler and state of its own.

    Raises KeyError for a mode that the weights have no class for.
    """
    return view_as(pipeline, class_for(type(pipeline).__name__, mode), scheduler)


def view_as(pipeline: Any, class_name: str, scheduler: Any) -> Any:
    """The same of the class that is named."""
    import diffusers

    view_class = getattr(diffusers, class_name)
    own = {
        **pipeline.config,
        **pipeline.components,
        "scheduler": scheduler,
        "requires_safety_checker": False,
        "add_watermarker": False,
    }
    wanted = inspect.signature(view_class.__init__).parameters
    view = view_class(**{name: value for name, value in own.items() if name in wanted})
    view.set_progress_bar_config(disable=True)
    return view


def call_arguments(view: Any, pictures: Sequence[Picture], recipe: Recipe) -> dict[str, Any]:
    """What the view's call takes beside prompts and generators."""
    arguments: Given = {
        "width": recipe.width,
        "height": recipe.height,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "strength": recipe.strength,
        # Kontext would choose other sizes for what it draws and for what it is shown.
        "max_area": recipe.width * recipe.height,
        "_auto_resize": False,
        # Others would draw in the nearest of the sizes that they learnt: a picture of another size,
        # or one scaled, which takes memory that nobody set aside.
        "use_resolution_binning": False,
        # What was asked for is drawn: not what is left of it without figures, links and brackets.
        "clean_caption": False,
        **_told_sizes(recipe),
        **_GIVEN[recipe.mode](view, pictures),
    }
    # Those that start from a picture often have no size of their own: it is the picture's.
    taken = inspect.signature(type(view).__call__).parameters
    if "true_cfg_scale" in taken and taken["true_cfg_scale"].default > 1:
        # Guided by a second look at each step, where others learnt guidance as a number.
        arguments["true_cfg_scale"] = arguments.pop("guidance_scale")
    return {n: value for n, value in arguments.items() if n in taken and value is not None}


def _told_sizes(recipe: Recipe) -> Given:
    """What XL is told of the picture's size: that of the parts, where it looks at parts."""
    if recipe.tile is None:
        return {}
    size = min(recipe.height, recipe.tile), min(recipe.width, recipe.tile)
    return {"original_size": size, "target_size": size}


def _nothing(view: Any, pictures: Sequence[Picture]) -> Given:
    return {}


def _start(view: Any, pictures: Sequence[Picture]) -> Given:
    return {"image": [picture.image for picture in pictures]}


def _hole(view: Any, pictures: Sequence[Picture]) -> Given:
    given = {**_start(view, pictures), "mask_image": [_mask(view, p) for p in pictures]}
    if all(picture.references for picture in pictures):
        given["image_reference"] = _shown(pictures)
    return given


def _instruction(view: Any, pictures: Sequence[Picture]) -> Given:
    if type(view).__name__ in SHOWN_SINGLY:
        return {"image": [presentable(shown) for shown in pictures[0].references]}
    # Those that draw from noise look at pictures of any size, the others change the one they get.
    changes = "image_guidance_scale" in inspect.signature(type(view).__call__).parameters
    return _start(view, pictures) if changes else {"image": _shown(pictures)}


_GIVEN: Mapping[Mode, Callable[[Any, Sequence[Picture]], Given]] = {
    "text-to-image": _nothing,
    "image-to-image": _start,
    "inpainting": _hole,
    "edit": _instruction,
    "upscale": _start,
}


def _shown(pictures: Sequence[Picture]) -> list[Any]:
    """For each picture what it is to go by: a pipeline takes one, so several are joined."""
    return [side_by_side(picture.references) for picture in pictures]


def _mask(view: Any, picture: Picture) -> Any:
    """The mask as the denoiser can follow it.

    Most see one value for each latent, taken from one pixel of its block, so that thin strokes
    would be lost: a block is drawn anew if any pixel of it is.
    """
    return picture.mask if _sees_pixels(view) else _in_blocks(picture.mask, view.vae_scale_factor)


def _sees_pixels(view: Any) -> bool:
    """Whether the mask reaches the denoiser pixel by pixel, as in FLUX Fill."""
    return type(view).__name__ == "FluxFillPipeline"


def _in_blocks(mask: Any, side: int) -> Any:
    """The mask with each block of `side` x `side` pixels at its largest value."""
    import numpy as np
    from PIL import Image

    values = np.asarray(mask)
    height, width = values.shape
    rows = np.maximum.reduceat(values, range(0, height, side), axis=0)
    blocks = np.maximum.reduceat(rows, range(0, width, side), axis=1)
    large = blocks.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return Image.fromarray(np.ascontiguousarray(large))
