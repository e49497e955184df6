"""What checkpoints can do, by the class they name and the shape of their denoiser."""

from __future__ import annotations

import pytest

from onebox.imaging.diffusion import abilities
from onebox.imaging.diffusion.abilities import (
    base_of,
    class_for,
    defaults_of,
    facts_of,
    modes_of,
    tasks_of,
)

FROM_PICTURES = {"image-to-image", "variations", "upscale"}


@pytest.mark.parametrize(
    ("class_name", "text_width", "is_refiner", "base"),
    [
        ("StableDiffusionPipeline", 768, False, "sd1"),
        ("StableDiffusionPipeline", 1024, False, "sd2"),
        ("StableDiffusionInpaintPipeline", 768, False, "sd1"),
        ("LatentConsistencyModelPipeline", 768, False, "sd1"),
        ("StableDiffusionXLPipeline", 2048, False, "sdxl"),
        ("StableDiffusionXLImg2ImgPipeline", 2048, False, "sdxl"),
        ("StableDiffusionXLImg2ImgPipeline", 1280, True, "sdxl-refiner"),
        ("StableDiffusion3Pipeline", None, False, "sd3"),
        ("FluxPipeline", None, False, "flux"),
        ("FluxFillPipeline", None, False, "flux"),
        ("FluxKontextPipeline", None, False, "flux"),
        ("StableDiffusionUpscalePipeline", 1024, False, "StableDiffusionUpscalePipeline"),
        ("QwenImageImg2ImgPipeline", None, False, "QwenImagePipeline"),
    ],
)
def test_additions_are_made_for_a_base(
    class_name: str, text_width: int | None, is_refiner: bool, base: str
) -> None:
    assert base_of(class_name, text_width=text_width, is_refiner=is_refiner) == base


@pytest.mark.parametrize(
    ("class_name", "base", "in_channels", "tasks"),
    [
        (
            "StableDiffusionPipeline",
            "sd1",
            4,
            {"text-to-image", "inpainting", "background", "try-on", *FROM_PICTURES},
        ),
        ("StableDiffusionInpaintPipeline", "sd1", 9, {"inpainting", "background", "try-on"}),
        ("StableDiffusionInpaintPipeline", "sd2", 9, {"inpainting", "background"}),
        ("StableDiffusionXLInpaintPipeline", "sdxl", 9, {"inpainting", "background", "try-on"}),
        (
            "StableDiffusionXLImg2ImgPipeline",
            "sdxl-refiner",
            4,
            {"inpainting", "background", *FROM_PICTURES},
        ),
        (
            "FluxPipeline",
            "flux",
            64,
            {"text-to-image", "inpainting", "background", *FROM_PICTURES},
        ),
        ("FluxFillPipeline", "flux", 384, {"inpainting", "background"}),
        (
            "FluxKontextPipeline",
            "flux",
            64,
            {"text-to-image", "image-to-image", "inpainting", "background", "try-on"},
        ),
        ("Flux2KleinPipeline", "x", 128, {"text-to-image", "image-to-image", "try-on"}),
        ("StableDiffusionUpscalePipeline", "x", 7, {"upscale"}),
        ("StableDiffusionInstructPix2PixPipeline", "x", 8, {"image-to-image"}),
        ("PixArtSigmaPipeline", "x", 4, {"text-to-image"}),
    ],
)
def test_a_checkpoint_offers_the_tasks_its_weights_can_do(
    class_name: str, base: str, in_channels: int, tasks: set[str]
) -> None:
    assert tasks_of(class_name, base, in_channels) == tasks


def test_a_denoiser_for_something_else_offers_nothing() -> None:
    assert tasks_of("StableDiffusionPipeline", "sd1", 5) == frozenset()


def test_an_unknown_number_of_channels_is_the_usual_one() -> None:
    assert modes_of("StableDiffusionPipeline", "sd1", None) == modes_of(
        "StableDiffusionPipeline", "sd1", 4
    )


def test_all_tasks_are_among_those_a_family_declares() -> None:
    for class_name in abilities.class_names():
        assert tasks_of(class_name, "sd1", None) <= abilities.TASK_NAMES


def test_a_class_does_for_each_mode_what_its_row_says() -> None:
    assert class_for("StableDiffusionXLImg2ImgPipeline", "text-to-image") == (
        "StableDiffusionXLPipeline"
    )
    with pytest.raises(KeyError):
        class_for("FluxFillPipeline", "text-to-image")
    with pytest.raises(KeyError):
        class_for("StableVideoDiffusionPipeline", "text-to-image")


def test_facts_leave_out_what_is_unknown() -> None:
    assert facts_of("PixArtSigmaPipeline", "PixArtSigmaPipeline", None, None) == {
        "base": "PixArtSigmaPipeline",
        "multiple": 16,
    }
    assert facts_of("FluxPipeline", "flux", 64, None)["native_size"] == 1024
    assert facts_of("StableDiffusionPipeline", "sd1", 4, 256)["native_size"] == 256
    # Its configuration tells half of what its pipeline draws.
    assert facts_of("AuraFlowPipeline", "AuraFlowPipeline", 4, 512)["native_size"] == 1024


def test_guidance_suits_the_weights_a_class_stands_for() -> None:
    assert defaults_of("FluxImg2ImgPipeline") == {"guidance_scale": 3.5}
    assert defaults_of("StableDiffusionPipeline") == {}
    assert defaults_of("SomethingElse") == {}
    assert defaults_of(None) == {}
