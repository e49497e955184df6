"""Piper's voices in the form that transformers has: its decoder, its file format, its symbols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.audio.synthesis.hifigan import simplify
from onebox.core.errors import ModelBroken
from onebox.starter import onnx_weights
from onebox.starter.convert_piper import _write_tokenizer, convert
from onebox.starter.onnx_weights import read_onnx
from onebox.starter.piper_decoder import doubled_decoder

SLOPE = 0.1
KERNELS, DILATIONS = (3, 5), ((1, 2), (2, 6))
STAGES, CHANNELS, LATENTS = 2, 8, 6
SYMBOLS = {"_": [0], "^": [1], "$": [2], " ": [3], "a": [4], "ð": [5], "̃": [6], "]": [7]}


def piper_layers() -> dict[str, tuple[Any, Any]]:
    """Random weights of a decoder that adds one convolution at a time."""
    import torch

    torch.manual_seed(0)

    def layer(out: int, *shape: int) -> tuple[Any, Any]:
        return torch.randn(*shape) * 0.3, torch.randn(out) * 0.1

    layers = {"conv_pre": layer(CHANNELS, CHANNELS, LATENTS, 7)}
    for stage in range(STAGES):
        wide, narrow = CHANNELS // 2**stage, CHANNELS // 2 ** (stage + 1)
        layers[f"ups.{stage}"] = layer(narrow, wide, narrow, 8)
        for index, kernel in enumerate(KERNELS):
            for j in range(2):
                name = f"resblocks.{stage * len(KERNELS) + index}.convs.{j}"
                layers[name] = layer(narrow, narrow, narrow, kernel)
    return layers


def piper_sound(layers: dict[str, tuple[Any, Any]], post: Any, latents: Any) -> Any:
    """What Piper computes of them."""
    from torch.nn import functional as f

    x = f.conv1d(latents, *layers["conv_pre"], padding=3)
    for stage in range(STAGES):
        x = f.conv_transpose1d(f.leaky_relu(x, SLOPE), *layers[f"ups.{stage}"], 4, 2)
        total = 0
        for index, (kernel, dilations) in enumerate(zip(KERNELS, DILATIONS, strict=True)):
            y = x
            for j, dilation in enumerate(dilations):
                weight, bias = layers[f"resblocks.{stage * len(KERNELS) + index}.convs.{j}"]
                around = (kernel - 1) * dilation // 2
                y = y + f.conv1d(
                    f.leaky_relu(y, SLOPE), weight, bias, padding=around, dilation=dilation
                )
            total = total + y
        x = total / len(KERNELS)
    return f.conv1d(f.leaky_relu(x), post, padding=3).tanh()


@pytest.fixture
def decoder() -> Any:
    """The same as transformers' decoder, of twice the channels."""
    import torch
    from transformers import VitsConfig
    from transformers.models.vits.modeling_vits import VitsHifiGan

    config = VitsConfig(
        flow_size=LATENTS, upsample_initial_channel=2 * CHANNELS, upsample_rates=[4] * STAGES,
        upsample_kernel_sizes=[8] * STAGES, resblock_kernel_sizes=list(KERNELS),
        resblock_dilation_sizes=[list(dilations) for dilations in DILATIONS],
        leaky_relu_slope=SLOPE,
    )  # fmt: skip
    built = VitsHifiGan(config).eval()
    tensors = doubled_decoder(piper_layers(), post(), SLOPE)
    built.load_state_dict({name.removeprefix("decoder."): t for name, t in tensors.items()})
    for parameter in built.parameters():
        assert torch.isfinite(parameter).all()
    return built.requires_grad_(False)


def post() -> Any:
    import torch

    return torch.linspace(-1, 1, CHANNELS // 2**STAGES * 7).view(1, -1, 7)


def latents() -> Any:
    import torch

    return torch.randn(1, LATENTS, 40, generator=torch.Generator().manual_seed(1))


def test_the_doubled_decoder_sounds_like_pipers(decoder: Any) -> None:
    wanted = piper_sound(piper_layers(), post(), latents())
    assert wanted.abs().max() > 0.1
    assert (decoder(latents()) - wanted).abs().max() < 1e-5


def test_without_its_zeros_it_is_smaller_and_sounds_the_same(decoder: Any) -> None:
    before, wanted = sum(p.numel() for p in decoder.parameters()), decoder(latents())
    assert simplify(decoder)
    assert sum(p.numel() for p in decoder.parameters()) < before / 3
    assert (decoder(latents()) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize(
    "name",
    ["conv_pre.weight", "upsampler.0.bias", "resblocks.1.convs1.0.bias",
     "resblocks.2.convs2.1.weight", "resblocks.3.convs2.0.bias"],
)  # fmt: skip
def test_a_decoder_with_one_other_weight_is_left_as_it_is(decoder: Any, name: str) -> None:
    tensor = dict(decoder.named_parameters())[name]
    tensor[(-1,) * tensor.dim()] += 0.25
    wanted = decoder(latents())
    assert not simplify(decoder)
    assert (decoder(latents()) - wanted).abs().max() == 0


def onnx_file(path: Path) -> Path:
    """Two convolutions, of which one has a weight that the exporter renamed, and a table."""
    model = onnx_weights._model_class()()
    values = np.arange(6, dtype=np.float32)
    for name, shape in (("onnx::Conv_1", (2, 1, 3)), ("a.bias", (2,)), ("sid", (3, 2))):
        body = values[: int(np.prod(shape))].tobytes()
        model.graph.initializer.add(name=name, dims=shape, data_type=1, raw_data=body)
    model.graph.initializer.add(name="axes", dims=(1,), data_type=7, raw_data=bytes(8))
    node = model.graph.node.add(op_type="Conv", input=["x", "onnx::Conv_1", "a.bias"])
    node.attribute.add(name="dilations", ints=[6])
    model.graph.node.add(op_type="Conv", input=["x", "no.bias"])
    model.graph.node.add(op_type="Gather", input=["sid", "input"])
    model.graph.node.add(op_type="LeakyRelu").attribute.add(name="alpha", f=0.5)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_are_found_by_what_uses_them(tmp_path: Path) -> None:
    found = read_onnx(onnx_file(tmp_path / "x.onnx"))
    assert found.convolutions == {"a": ("onnx::Conv_1", 1, 6)}
    assert found.tensors["onnx::Conv_1"].tolist() == [[[0, 1, 2]], [[3, 4, 5]]]
    assert "axes" not in found.tensors
    assert (found.embeddings, found.slopes) == (("sid",), (0.5,))


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelBroken, match=r"x\.onnx is not an ONNX file"):
        read_onnx(path)


@pytest.mark.parametrize("told", [{"num_speakers": 4}, {"phoneme_type": "text"}])
def test_other_voices_are_refused_by_name(tmp_path: Path, told: dict[str, Any]) -> None:
    path = onnx_file(tmp_path / "x.onnx")
    (tmp_path / "x.onnx.json").write_text(json.dumps(told))
    with pytest.raises(ModelBroken, match="one speaker"):
        convert(path, tmp_path / "folder")


def test_symbols_become_ids_with_blanks_between_and_marks_around(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    _write_tokenizer(tmp_path, {"phoneme_id_map": SYMBOLS, "espeak": {"voice": "en-us"}})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, split_special_tokens=True)["input_ids"])

    assert ids("a ð") == [1, 0, 4, 0, 3, 0, 5, 0, 2]
    assert ids("ã]") == [1, 0, 4, 0, 6, 0, 7, 0, 2]
    # Nothing that a text says is a mark or a blank, and what is not known is left out.
    assert ids("_a^x\n$ $") == ids("a ")
