"""What a single file is, by names and shapes: no guess is made of anything else."""

from __future__ import annotations

import pytest

from onebox.core.errors import ModelBroken
from onebox.imaging.checkpoints.keys import Shapes, layout_of, part_of
from onebox.imaging.checkpoints.stamps import stamp_of, stamps_of_file
from tests.support.checkpoint_shapes import (
    CLIP_L,
    DIFFUSION,
    FLUX,
    OPEN_CLIP,
    REFINER_G,
    SD3,
    UNET,
    VAE,
    XL_G,
    XL_L,
    whole,
    with_channels,
)


@pytest.mark.parametrize(
    ("shapes", "base"),
    [
        (whole(UNET, CLIP_L), "sd1"),
        (whole(UNET, OPEN_CLIP), "sd2"),
        (whole(UNET, XL_L, XL_G), "sdxl"),
        (whole(UNET, REFINER_G), "sdxl-refiner"),
        (whole(SD3, "text_encoders.clip_l.transformer.text_model.a"), "sd3"),
        (whole(FLUX, "text_encoders.t5xxl.transformer.shared.weight"), "flux"),
        (SD3, "sd3"),
        (FLUX, "flux"),
    ],
)
def test_a_file_is_known_by_its_denoiser_and_its_text_encoders(shapes: Shapes, base: str) -> None:
    layout = layout_of(shapes)
    assert layout is not None
    assert layout.base == base
    assert layout.variant == ""


@pytest.mark.parametrize(
    ("width", "base"), [(768, "sd1"), (1024, "sd2"), (1280, "sdxl-refiner"), (2048, "sdxl")]
)
def test_a_unet_alone_is_known_by_the_width_of_the_text_it_reads(width: int, base: str) -> None:
    name = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    layout = layout_of(
        {DIFFUSION + key: value for key, value in {**UNET, name: (320, width)}.items()}
    )
    assert layout is not None
    assert layout.base == base
    assert "vae" in layout.missing
    assert any(part.startswith("text_encoder") for part in layout.missing)


def test_what_a_file_lacks_is_told_and_what_it_may_lack_is_not() -> None:
    layouts = [layout_of(shapes) for shapes in (whole(UNET, CLIP_L), whole(SD3), FLUX)]
    missing = [layout.missing for layout in layouts if layout is not None]
    assert missing == [
        (),
        ("text_encoder", "text_encoder_2"),  # SD3 works without its third
        ("vae", "text_encoder", "text_encoder_2"),
    ]


@pytest.mark.parametrize(
    ("shapes", "variant", "channels"),
    [
        (whole(with_channels(UNET, "input_blocks.0.0.weight", 9), CLIP_L), "inpainting", 9),
        (whole(with_channels(UNET, "input_blocks.0.0.weight", 9), XL_L, XL_G), "inpainting", 9),
        (with_channels(FLUX, "img_in.weight", 384), "fill", 384),
    ],
)
def test_a_file_made_for_inpainting_is_known_by_what_it_takes_in(
    shapes: Shapes, variant: str, channels: int
) -> None:
    layout = layout_of(shapes)
    assert layout is not None
    assert (layout.variant, layout.in_channels) == (variant, channels)


@pytest.mark.parametrize(
    "shapes",
    [
        {"weight": (3, 3)},
        {},
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (8, 320)},
        {name: shape for name, shape in whole(UNET, CLIP_L).items() if "middle" not in name},
        VAE,
        {f"control_model.{name}": shape for name, shape in UNET.items()},
        {**FLUX, "distilled_guidance_layer.in_proj.bias": (1,)},
        {**FLUX, "single_stream_modulation.lin.weight": (1,)},
    ],
)
def test_no_other_file_passes_for_an_image_checkpoint(shapes: Shapes) -> None:
    assert layout_of(shapes) is None


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (whole(with_channels(UNET, "input_blocks.0.0.weight", 8), CLIP_L), "takes 8 channels"),
        (with_channels(FLUX, "img_in.weight", 128), "takes 128 channels and gives 64"),
        ({**FLUX, "scaled_fp8": (0,)}, "quantised"),
        ({**FLUX, "double_blocks.0.img_attn.qkv.weight.absmax": (9,)}, "quantised"),
        (
            whole({**UNET, "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 32)}),
            "unknown kind",
        ),
        (whole({**UNET, "input_blocks.0.0.weight": (320,)}, CLIP_L), "impossible shape"),
    ],
)
def test_a_file_that_cannot_be_drawn_with_says_why(shapes: Shapes, said: str) -> None:
    with pytest.raises(ModelBroken, match=said):
        layout_of(shapes)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (
            (
                "encoder.conv_in.weight",
                "decoder.conv_in.weight",
                "decoder.mid.block_1.conv1.weight",
                "decoder.up.0.block.0.conv1.weight",
            ),
            "vae",
        ),
        (
            (
                "text_model.embeddings.token_embedding.weight",
                "text_model.encoder.layers.0.self_attn.q_proj.weight",
                "text_model.final_layer_norm.weight",
            ),
            "clip",
        ),
        (
            (
                "shared.weight",
                "encoder.block.0.layer.0.SelfAttention.q.weight",
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "encoder.final_layer_norm.weight",
            ),
            "t5",
        ),
    ],
)
def test_a_file_of_one_part_is_known(names: tuple[str, ...], kind: str) -> None:
    shapes = dict.fromkeys(names, (8, 8))
    part = part_of(shapes)
    assert part is not None
    assert (part.name, part.prefix) == (kind, "")
    assert layout_of(shapes) is None
    assert part_of(dict.fromkeys(names[:-1], (8, 8))) is None


def test_a_stamp_counts_values_but_not_those_that_take_in_latents() -> None:
    four, nine = (
        layout_of(whole(with_channels(UNET, "input_blocks.0.0.weight", taken), CLIP_L))
        for taken in (4, 9)
    )
    shapes = whole(UNET, CLIP_L)
    assert four is not None
    assert nine is not None
    stamps = stamps_of_file(four, shapes)
    assert stamps["text_encoder"] == "text:49408x768"
    assert stamps["vae"] == f"vae:{512 * 4 * 9}"
    wider = whole(with_channels(UNET, "input_blocks.0.0.weight", 9), CLIP_L)
    assert stamps_of_file(nine, wider) == stamps
    assert stamp_of("unet", {"a": (2, 3), "conv_in.weight": (7, 7)}) == "unet:6"
    assert stamp_of("scheduler", {"a": (1,)}) is None
