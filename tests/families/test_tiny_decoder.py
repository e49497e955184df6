"""Preview decoders, in both layouts that they are handed round in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.families.lora import Lora
from onebox.families.tiny_decoder import TinyDecoder
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.tiny_decoders import base_of, load_decoder
from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import FAMILY, TASK, device, resolve
from tests.families.test_previews import Watching

DECODER = TinyDecoder()


@pytest.fixture(scope="module")
def whole() -> Any:
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    return AutoencoderTiny().eval()


@pytest.fixture(scope="module")
def folder(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoders") / "taesd"
    whole.save_pretrained(path)
    return path


def author_file(whole: Any, path: Path, prefix: str = "") -> Path:
    """The decoder as its author numbers its layers: one more than diffusers does."""
    from safetensors.torch import save_file

    weights = {}
    for name, tensor in whole.decoder.layers.state_dict().items():
        number, _, rest = name.partition(".")
        weights[f"{prefix}{int(number) + 1}.{rest}"] = tensor
    save_file(weights, path)
    return path


@pytest.mark.parametrize("prefix", ["", "decoder.", "taesd_decoder."])
def test_a_file_of_the_authors_layout_decodes_as_the_folder_does(
    whole: Any, folder: Path, tmp_path: Path, prefix: str
) -> None:
    import torch

    path = author_file(whole, tmp_path / "taesd_decoder.safetensors", prefix)
    match = DECODER.matches(open_on_disk(path))
    assert match is not None
    assert match.facts == {"latent_channels": 4, "base": "sd1"}
    latents = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        expected = whole.decode(latents).sample
        for place in (path, folder):
            found = load_decoder(place, "cpu", torch.float32)(latents)
            assert torch.equal(found, expected)


def test_a_folder_is_recognised_by_its_class(folder: Path) -> None:
    match = DECODER.matches(open_on_disk(folder))
    assert match is not None
    assert (match.kind, match.facts["base"]) == ("AutoencoderTiny", "sd1")
    assert FAMILY.matches(open_on_disk(folder)) is None


def test_a_folder_without_its_decoder_is_broken(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    broken = tmp_path / "taesd"
    broken.mkdir()
    (broken / "config.json").write_text((folder / "config.json").read_text())
    import torch

    save_file({"x": torch.zeros(1)}, broken / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelBroken, match="no decoder"):
        DECODER.matches(open_on_disk(broken))


def test_other_files_are_left_to_others(tiny_sd: Path, whole: Any, tmp_path: Path) -> None:
    assert DECODER.matches(open_on_disk(tiny_sd)) is None
    assert (
        DECODER.matches(open_on_disk(tiny_sd / "unet" / "diffusion_pytorch_model.safetensors"))
        is None
    )
    mine = author_file(whole, tmp_path / "taesd_decoder.safetensors")
    assert Lora().matches(open_on_disk(mine)) is None


@pytest.mark.parametrize(
    ("name", "channels", "base"),
    [
        ("taesd_decoder", 4, "sd1"),
        ("taesdxl_decoder", 4, "sdxl"),
        ("TAESD-XL", 4, "sdxl"),
        ("taesd3", 16, "sd3"),
        ("taef1_decoder", 16, "flux"),
        ("taesd", 16, None),
        ("decoder", 4, None),
    ],
)
def test_a_decoder_is_for_the_models_that_it_is_named_after(
    name: str, channels: int, base: str | None
) -> None:
    assert base_of(name, channels) == base


def test_a_decoder_is_not_used_by_itself(folder: Path) -> None:
    entry = _entry(folder)
    with pytest.raises(TaskNotSupported, match="partial_images"):
        DECODER.load(entry, device())
    assert DECODER.estimate(open_on_disk(folder), device()) > 4_000_000


def test_previews_are_decoded_where_a_decoder_came_along(
    bundle: PipelineBundle, tiny_sd: Path, folder: Path
) -> None:
    request = resolve(tiny_sd, seed=1, steps=2, partial_images=1)
    plain, decoded = Watching(tiny_sd), Watching(tiny_sd, preview=_entry(folder))
    pictures = [TASK.run(bundle, request, context)[0].value for context in (plain, decoded)]
    assert np.array_equal(*map(np.asarray, pictures))
    assert plain.previews[0].value.shape == (32, 32, 3)
    assert decoded.previews[0].value.shape == (256, 256, 3)
    assert decoded.previews[0].options["size"] == (64, 64)


def _entry(folder: Path) -> Entry:
    return Entry("d", "taesd", str(folder), "", 1, "ready", family=DECODER.name)
