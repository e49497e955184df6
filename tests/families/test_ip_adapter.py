"""IP-Adapters and image encoders on disk: told from all else by what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.plugins import FAMILIES, load_plugins
from onebox.families.image_encoder import ImageEncoder
from onebox.families.ip_adapter import IpAdapter
from onebox.registry.on_disk import open_on_disk
from onebox.registry.recognition import recognise
from tests.families import tiny_image_prompts as tiny
from tests.families.pictures import device


def saved(path: Path, **tensors: tuple[int, ...]) -> Path:
    import torch
    from safetensors.torch import save_file

    named = {name.replace("__", "."): torch.zeros(shape) for name, shape in tensors.items()}
    save_file(named, path)
    return path


def layers(width: int, count: int = 2) -> dict[str, tuple[int, ...]]:
    return {
        f"ip_adapter__{2 * number + 1}__{part}__weight": (8, width)
        for number in range(count)
        for part in ("to_k_ip", "to_v_ip")
    }


PLAIN = {"image_proj__proj__weight": (32, 24), "image_proj__norm__weight": (8,)}
FULL = {"image_proj__proj__0__weight": (40, 40), "image_proj__proj__3__weight": (8,)}
PLUS = {"image_proj__latents": (1, 4, 64), "image_proj__proj_in__weight": (64, 48)}
FACE = {"image_proj__proj__0__weight": (16, 8), "image_proj__norm__weight": (8,)}


@pytest.mark.parametrize(
    ("projection", "kind", "takes"),
    [
        (PLAIN, "IP-Adapter", {"projection_dim": 24}),
        (FULL, "IP-Adapter Full", {"hidden_size": 40}),
        (PLUS, "IP-Adapter Plus", {"hidden_size": 48}),
    ],
)
def test_its_kind_and_what_it_takes_are_read_from_its_projection(
    tmp_path: Path, projection: dict[str, Any], kind: str, takes: dict[str, int]
):
    file = saved(tmp_path / "a.safetensors", **projection, **layers(768))
    match = IpAdapter().matches(open_on_disk(file))
    assert match is not None
    assert match.kind == kind
    assert match.facts == {"base": "sd1", **takes, "text_width": 768, "layers": 2}


@pytest.mark.parametrize(("width", "base"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl")])
def test_its_base_is_told_by_the_width_of_what_it_joins(tmp_path: Path, width: int, base: str):
    file = saved(tmp_path / "a.safetensors", **PLAIN, **layers(width))
    match = IpAdapter().matches(open_on_disk(file))
    assert match is not None
    assert match.facts["base"] == base


def test_one_for_faces_is_refused_with_what_would_do(tmp_path: Path):
    file = saved(tmp_path / "a.safetensors", **FACE, **layers(768))
    with pytest.raises(ModelBroken, match=r"FaceID.*plain, plus or full-face"):
        IpAdapter().matches(open_on_disk(file))


def test_one_whose_layers_do_not_fit_together_is_broken(tmp_path: Path):
    odd = {"ip_adapter__5__to_k_ip__weight": (8, 64)}
    file = saved(tmp_path / "a.safetensors", **PLAIN, **layers(768), **odd)
    with pytest.raises(ModelBroken, match="do not fit together"):
        IpAdapter().matches(open_on_disk(file))


@pytest.mark.parametrize(
    "tensors",
    [
        {"image_proj__proj__weight": (32, 24)},
        {**PLAIN, **layers(768), "unet__conv__weight": (3, 3)},
        {"lora_unet_mid_block__lora_down__weight": (4, 8)},
    ],
)
def test_other_files_are_not_taken_for_one(tmp_path: Path, tensors: dict[str, Any]):
    file = saved(tmp_path / "a.safetensors", **tensors)
    assert IpAdapter().matches(open_on_disk(file)) is None


def test_no_other_family_takes_them(tmp_path: Path):
    load_plugins()
    adapter = tiny.ip_adapter(tmp_path / "adapter.safetensors")
    encoder = tiny.image_encoder(tmp_path / "encoder")
    for path, family in ((adapter, "ip_adapter"), (encoder, "image_encoder")):
        others = {name: other for name, other in FAMILIES.items() if name != family}
        assert recognise(open_on_disk(path), FAMILIES).family == family
        assert recognise(open_on_disk(path), others).family is None


def test_an_encoder_without_its_sizes_or_its_weights_is_broken(tmp_path: Path):
    encoder = tiny.image_encoder(tmp_path / "encoder")
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "projection_dim": None}))
    with pytest.raises(ModelBroken, match="does not say"):
        ImageEncoder().matches(open_on_disk(encoder))
    (encoder / "config.json").write_text(json.dumps({**config, "auto_map": {"x": "y.Z"}}))
    with pytest.raises(ModelBroken, match="remote code"):
        ImageEncoder().matches(open_on_disk(encoder))


@pytest.mark.parametrize("family", [IpAdapter(), ImageEncoder()])
def test_by_itself_it_does_nothing_and_says_where_to_name_it(family: Family):
    entry = Entry("k", "mine", "/m/mine", "", 1, "ready", family=family.name)
    with pytest.raises(TaskNotSupported, match=f"name it in {family.name}"):
        family.load(entry, device())
    assert family.tasks == frozenset()


def test_sizes_are_those_of_the_files_in_the_devices_dtype(tmp_path: Path):
    adapter = open_on_disk(tiny.ip_adapter(tmp_path / "adapter.safetensors"))
    encoder = open_on_disk(tiny.image_encoder(tmp_path / "encoder"))
    for family, on_disk in ((IpAdapter(), adapter), (ImageEncoder(), encoder)):
        whole, half = (family.estimate(on_disk, device(d)) for d in ("float32", "bfloat16"))
        assert whole == pytest.approx(2 * half, rel=0.05)
        assert whole == pytest.approx(sum(on_disk.files.values()), rel=0.3)
