"""Tiny random models that cut out: U²-Net, and one of each kind of the library's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onebox.imaging.segmentation.u2net_names import FLAT, STAGES, heads, units

WIDTH, MIDDLE = 4, 2
CLOTHES = ["Background", "Hat", "Upper-clothes"]


def u2net_tensors(*, norms: bool = False) -> dict[str, Any]:
    """Random weights of stages 4 channels wide; with batch norms as in the authors' files."""
    import torch

    torch.manual_seed(0)
    tensors: dict[str, Any] = {}

    def layer(name: str, into: int, out: int, kernel: int = 3) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, into, kernel, kernel) * (into * 9) ** -0.5
        tensors[f"{name}.bias"] = torch.randn(out) * 0.1

    for stage, levels in STAGES.items():
        entered = 3 if stage == "stage1" else WIDTH * (2 if stage.endswith("d") else 1)
        for unit in units(levels):
            into = 2 * MIDDLE if unit.endswith("d") else MIDDLE
            if unit in ("rebnconvin", "rebnconv1"):
                into = entered if unit == "rebnconvin" else WIDTH
            out = WIDTH if unit in ("rebnconvin", "rebnconv1d") else MIDDLE
            layer(f"{stage}.{unit}.conv_s1", into, out)
            if norms:
                _norm(tensors, f"{stage}.{unit}.bn_s1", out)
    for name in heads():
        layer(name, 6 if name == "outconv" else WIDTH, 1, 1 if name == "outconv" else 3)
    return tensors


def _norm(tensors: dict[str, Any], name: str, channels: int) -> None:
    import torch

    tensors[f"{name}.weight"] = torch.rand(channels) + 0.5
    tensors[f"{name}.bias"] = torch.randn(channels) * 0.1
    tensors[f"{name}.running_mean"] = torch.randn(channels) * 0.1
    tensors[f"{name}.running_var"] = torch.rand(channels) + 0.5
    tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)


def plain_u2net(tensors: dict[str, Any], pixels: Any) -> Any:
    """The same network written down once more, as its paper draws it and with its batch norms."""
    import torch
    from torch.nn import functional as f

    def unit(name: str, x: Any, dilation: int = 1) -> Any:
        part = {key: tensors[f"{name}.conv_s1.{key}"] for key in ("weight", "bias")}
        x = f.conv2d(x, **part, padding=dilation, dilation=dilation)
        norm = f"{name}.bn_s1"
        names = ("running_mean", "running_var", "weight", "bias")
        return f.relu(f.batch_norm(x, *(tensors[f"{norm}.{key}"] for key in names)))

    def pool(x: Any) -> Any:
        return f.max_pool2d(x, 2, 2, ceil_mode=True)

    def up(x: Any, like: Any) -> Any:
        return f.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)

    def u(name: str, x: Any, level: int, levels: int) -> Any:
        """From one level of a pooled U on down, and up again."""
        down = unit(f"{name}.rebnconv{level}", x)
        if level == levels - 1:
            low = unit(f"{name}.rebnconv{levels}", down, 2)
        else:
            low = u(name, pool(down), level + 1, levels)
        return unit(f"{name}.rebnconv{level}d", torch.cat((up(low, down), down), 1))

    def flat(name: str, x: Any) -> Any:
        one = unit(f"{name}.rebnconv1", x)
        two = unit(f"{name}.rebnconv2", one, 2)
        three = unit(f"{name}.rebnconv3", two, 4)
        four = unit(f"{name}.rebnconv4", three, 8)
        back = unit(f"{name}.rebnconv3d", torch.cat((four, three), 1), 4)
        back = unit(f"{name}.rebnconv2d", torch.cat((back, two), 1), 2)
        return unit(f"{name}.rebnconv1d", torch.cat((back, one), 1))

    def stage(name: str, x: Any) -> Any:
        entered = unit(f"{name}.rebnconvin", x)
        made = flat(name, entered) if name in FLAT else u(name, entered, 1, STAGES[name])
        return made + entered

    first = stage("stage1", pixels)
    second = stage("stage2", pool(first))
    third = stage("stage3", pool(second))
    fourth = stage("stage4", pool(third))
    fifth = stage("stage5", pool(fourth))
    sixth = stage("stage6", pool(fifth))
    said = [sixth]
    for number, skip in ((5, fifth), (4, fourth), (3, third), (2, second), (1, first)):
        said.append(stage(f"stage{number}d", torch.cat((up(said[-1], skip), skip), 1)))
    sides = [
        f.conv2d(x, tensors[f"side{n}.weight"], tensors[f"side{n}.bias"], padding=1)
        for n, x in enumerate(reversed(said), start=1)
    ]
    joined = torch.cat([up(side, pixels) for side in sides], 1)
    return f.conv2d(joined, tensors["outconv.weight"], tensors["outconv.bias"]).sigmoid()[:, 0]


def u2net(path: Path, **how: Any) -> Path:
    """A safetensors file."""
    from safetensors.torch import save_file

    save_file(u2net_tensors(**how), path)
    return path


def segformer(folder: Path, labels: list[str] | None = None) -> Path:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16],
        patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=8, id2label=dict(enumerate(labels or CLOTHES)),
    )  # fmt: skip
    return _saved(SegformerForSemanticSegmentation(config), folder, "Segformer", 64)


def mobilevit(folder: Path) -> Path:
    """Its processor crops the middle out of a picture, unless it is told not to."""
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    config = MobileViTConfig(
        image_size=64, hidden_sizes=[8, 8, 8], neck_hidden_sizes=[4, 4, 4, 4, 4, 4, 8],
        num_attention_heads=2, aspp_out_channels=8, atrous_rates=[2, 3, 4],
        id2label=dict(enumerate(CLOTHES)),
    )  # fmt: skip
    return _saved(MobileViTForSemanticSegmentation(config), folder, "MobileViT", None)


def detr(folder: Path) -> Path:
    """It draws masks and says what each of them shows."""
    from transformers import DetrConfig, DetrForSegmentation, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, d_model=64, num_queries=5, encoder_layers=1, decoder_layers=1,
        decoder_ffn_dim=16, encoder_ffn_dim=16, id2label=dict(enumerate(CLOTHES)),
    )  # fmt: skip
    return _saved(DetrForSegmentation(config), folder, "Detr", None)


def _saved(model: Any, folder: Path, name: str, side: int | None) -> Path:
    """`side`: of the square that the model sees; None: its shape is the picture's."""
    import torch

    torch.manual_seed(0)
    # Weights that tell pixels apart; the library's own begin near nothing.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    told = {"shortest_edge": 64} if side is None else {"height": side, "width": side}
    settings = {"image_processor_type": f"{name}ImageProcessor", "size": told}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
