"""Which weights are loaded of a folder that has them more than once."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.core.errors import ModelBroken
from onebox.imaging.checkpoints.weight_files import files_in, variant_of, weights_of

PARTS = {"unet", "vae"}
UNET, HALF_UNET = "unet/model.safetensors", "unet/model.fp16.safetensors"
VAE, HALF_VAE = "vae/model.safetensors", "vae/model.fp16.safetensors"
OLD_SHARD = "unet/model.fp16-00001-of-00002.safetensors"
NEW_SHARD = "unet/model-00001-of-00002.fp16.safetensors"


@pytest.mark.parametrize(
    ("files", "loaded", "variant"),
    [
        ([UNET, VAE], [UNET, VAE], None),
        ([UNET, HALF_UNET, VAE, HALF_VAE], [UNET, VAE], None),
        ([HALF_UNET, HALF_VAE], [HALF_UNET, HALF_VAE], "fp16"),
        ([HALF_UNET, VAE], [HALF_UNET, VAE], "fp16"),
        ([HALF_UNET, VAE, HALF_VAE], [HALF_UNET, HALF_VAE], "fp16"),
        ([OLD_SHARD, NEW_SHARD, VAE], [OLD_SHARD, NEW_SHARD, VAE], "fp16"),
        ([UNET, "unet/model.non_ema.safetensors", VAE], [UNET, VAE], None),
        (
            ["unet/a.bf16.safetensors", "unet/a.fp8.safetensors"],
            ["unet/a.bf16.safetensors"],
            "bf16",
        ),
        ([UNET, "extra/model.fp16.safetensors", "unet/x/y.fp16.safetensors"], [UNET], None),
    ],
)
def test_plain_weights_are_taken_where_every_part_has_them(
    files: list[str], loaded: list[str], variant: str | None
) -> None:
    assert [file for group in weights_of(files, PARTS).values() for file in group] == loaded
    assert variant_of(files, PARTS) == variant


def test_parts_without_a_variant_in_common_are_refused() -> None:
    with pytest.raises(ModelBroken, match=r"unet: bf16; vae: fp16"):
        weights_of(["unet/model.bf16.safetensors", HALF_VAE], PARTS)


def test_a_folder_is_looked_into_one_level_deep(tmp_path: Path) -> None:
    for name in (HALF_UNET, "unet/deep/model.safetensors", "model.safetensors", "vae/config.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert files_in(tmp_path) == [HALF_UNET]
