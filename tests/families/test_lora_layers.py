"""Layers of LoRA files that do not fit are refused by their shapes, before anything is made, and
metadata that nobody would write do no harm.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.lora_files import MAX_CONFIG_BYTES, read_lora
from onebox.imaging.diffusion.lora_layers import additions_to
from onebox.imaging.diffusion.lora_places import Place, shape_of
from tests.families.adapter_files import save

LINEAR = torch.nn.Linear(8, 6)
CONV = torch.nn.Conv2d(8, 6, 3, padding=1)
LIKE = torch.empty(0)
HUGE = 1_000_000


def fits(module: Any, place: Place | None = None, **shapes: tuple[int, ...]) -> bool:
    shape = shape_of(module)
    assert shape is not None
    parts = {part: torch.zeros(wanted) for part, wanted in shapes.items()}
    where = place or Place(slice(0, 6), 6)
    return additions_to(parts, where, 1.0, shape, LIKE) is not None


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (LINEAR, {"down": (2, 8), "up": (6, 2)}),
        (LINEAR, {"down": (2, 8, 1, 1), "up": (6, 2, 1, 1)}),
        (CONV, {"down": (2, 8, 3, 3), "up": (6, 2, 1, 1)}),
        (CONV, {"down": (2, 8, 3, 3), "up": (6, 2)}),
        (CONV, {"down": (2, 8), "mid": (2, 2, 3, 3), "up": (6, 2)}),
        (
            CONV,
            {"hada_w1_a": (6, 2), "hada_w1_b": (2, 72), "hada_w2_a": (6, 3), "hada_w2_b": (3, 72)},
        ),
        (
            CONV,
            {
                **{"hada_w1_a": (2, 6), "hada_w1_b": (2, 8), "hada_t1": (2, 2, 3, 3)},
                **{"hada_w2_a": (2, 6), "hada_w2_b": (2, 8), "hada_t2": (2, 2, 3, 3)},
            },
        ),
        (CONV, {"lokr_w1": (2, 4), "lokr_w2": (3, 2, 3, 3)}),
        (CONV, {"lokr_w1": (2, 4), "lokr_w2_a": (3, 1), "lokr_w2_b": (1, 18)}),
        (
            CONV,
            {"lokr_w1": (2, 4), "lokr_w2_a": (2, 3), "lokr_w2_b": (2, 2), "lokr_t2": (2, 2, 3, 3)},
        ),
        (LINEAR, {"lokr_w1_a": (3, 1), "lokr_w1_b": (1, 2), "lokr_w2": (2, 4)}),
        (LINEAR, {"diff": (6, 8), "diff_b": (6,)}),
        (CONV, {"diff_b": (6,)}),
    ],
)
def test_every_form_of_a_layer_is_taken(module, shapes):
    assert fits(module, **shapes)


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (LINEAR, {"down": (2, 7), "up": (6, 2)}),
        (LINEAR, {"down": (2, 8), "up": (5, 2)}),
        (LINEAR, {"down": (2, 8), "up": (6, 3)}),
        (LINEAR, {"down": (2, 8, 3, 3), "up": (6, 2)}),
        (LINEAR, {"down": (), "up": ()}),
        (LINEAR, {"down": (2,), "up": (6,)}),
        (LINEAR, {"down": (0, 8), "up": (6, 0)}),
        (LINEAR, {"diff": ()}),
        (CONV, {"down": (2, 8, 1, 1), "up": (6, 2, 1, 1)}),
        (CONV, {"down": (2, 8, 3, 3), "up": (6, 2, 3, 3)}),
        (CONV, {"down": (2, 8), "mid": (2, 3, 3, 3), "up": (6, 2)}),
        (
            LINEAR,
            {"hada_w1_a": (6, 2), "hada_w1_b": (3, 8), "hada_w2_a": (6, 2), "hada_w2_b": (2, 8)},
        ),
        (
            LINEAR,
            {"hada_w1_a": (6, 2), "hada_w1_b": (2, 8), "hada_w2_a": (6, 2), "hada_w2_b": (2, 4)},
        ),
        (LINEAR, {"lokr_w1": (2, 2), "lokr_w2": (2, 2)}),
        (LINEAR, {"lokr_w1": (2,), "lokr_w2": (3, 4)}),
        (LINEAR, {"diff": (8, 6)}),
        (LINEAR, {"diff_b": (5,)}),
        (LINEAR, {"down": (2, 8), "up": (6, 2), "diff_b": (1,)}),
    ],
)
def test_other_shapes_are_refused(module, shapes):
    assert not fits(module, **shapes)


@pytest.mark.parametrize(
    "shapes",
    [
        {"lokr_w1": (1000, 1000), "lokr_w2": (1000, 1000)},
        {f"hada_w{i}_{x}": (HUGE, 1) if x == "a" else (1, HUGE) for i in (1, 2) for x in "ab"},
        {
            **{"lokr_w1": (1, 1), "lokr_w2_a": (1, HUGE), "lokr_w2_b": (1, HUGE)},
            "lokr_t2": (1, 1, 1, 1),
        },
    ],
)
def test_small_files_do_not_become_terabytes(shapes):
    assert not fits(LINEAR, **shapes)


def test_a_layer_that_is_several_modules_gives_each_its_rows():
    rows = torch.arange(12.0)[:, None].repeat(1, 2)
    parts = {"down": torch.ones(2, 8) / 16, "up": rows}
    shape = shape_of(LINEAR)
    assert shape is not None
    added = additions_to(parts, Place(slice(6, 12), 12), 2.0, shape, LIKE)
    assert added is not None
    assert torch.allclose(
        added[0](torch.ones(1, 8), torch.zeros(1, 6)), 2 * torch.arange(6.0, 12.0)[None]
    )
    assert not fits(LINEAR, Place(slice(6, 12), 13), down=(2, 8), up=(12, 2))


def test_only_layers_that_take_the_latents_in_may_know_fewer_inputs():
    narrow = {"down": (2, 5), "up": (6, 2)}
    assert fits(LINEAR, Place(slice(0, 6), 6, widen=True), **narrow)
    assert not fits(LINEAR, **narrow)


def test_nothing_is_added_to_a_convolution_in_groups():
    assert shape_of(torch.nn.Conv2d(8, 8, 3, groups=2)) is None


@pytest.mark.parametrize(
    "said",
    ["[" * 100_000, '{"unet.lora_alpha": ', "[]", '{"unet.alpha_pattern": 7}', '{"unet.r": 1e999}'],
)
def test_metadata_that_make_no_sense_say_nothing(tmp_path, said):
    layer = {"unet.mid_block.a.lora_A.weight": torch.ones(2, 8)}
    layer["unet.mid_block.a.lora_B.weight"] = torch.ones(6, 2)
    file = save(tmp_path / "a.safetensors", layer, {"lora_adapter_metadata": said})
    (difference,) = read_lora(str(file))
    assert difference.scale == 1.0


def test_metadata_of_many_megabytes_are_refused(tmp_path):
    said = {"lora_adapter_metadata": "x" * (MAX_CONFIG_BYTES + 1)}
    file = save(tmp_path / "a.safetensors", {"unet.mid_block.a.diff": torch.ones(2, 2)}, said)
    with pytest.raises(InvalidInput, match="metadata take 16777217 characters"):
        read_lora(str(file))
