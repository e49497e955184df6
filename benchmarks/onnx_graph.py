"""An ONNX graph computed node by node with torch, in any precision.

Only the operations that U²-Net's export is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from onebox.starter.onnx_weights import FLOAT, read_graph

INPUT = "input.1"
TYPES = {FLOAT: "<f4", 6: "<i4", 7: "<i8"}


def compute(onnx: Path, pixels: torch.Tensor) -> torch.Tensor:
    """The graph's first output, in the precision of its input: the last sigmoid's."""
    graph = read_graph(onnx)
    values: dict[str, Any] = {INPUT: pixels}
    for tensor in graph.initializer:
        values[tensor.name] = _tensor(tensor).to(pixels.dtype)
    result = pixels
    for node in graph.node:
        told = {attribute.name: attribute for attribute in node.attribute}
        inputs = [values[name] if name else None for name in node.input]
        values[node.output[0]] = OPERATIONS[node.op_type](inputs, told)
        if node.op_type == "Sigmoid" and result is pixels:
            # Of seven outputs the first is computed first: the one of all sides together.
            result = values[node.output[0]]
    return result


def _tensor(message: Any) -> torch.Tensor:
    values = np.frombuffer(message.raw_data, TYPES[message.data_type])
    return torch.from_numpy(values.reshape(tuple(message.dims)).copy())


def _convolution(inputs: Sequence[Any], told: Mapping[str, Any]) -> torch.Tensor:
    pads, dilations = tuple(told["pads"].ints[:2]), tuple(told["dilations"].ints)
    return functional.conv2d(*inputs, padding=pads, dilation=dilations)


def _pool(inputs: Sequence[Any], told: Mapping[str, Any]) -> torch.Tensor:
    whole = bool(told["ceil_mode"].i) if "ceil_mode" in told else False
    kernel, strides = tuple(told["kernel_shape"].ints), tuple(told["strides"].ints)
    return functional.max_pool2d(inputs[0], kernel, strides, ceil_mode=whole)


def _resize(inputs: Sequence[Any], told: Mapping[str, Any]) -> torch.Tensor:
    size = tuple(int(side) for side in inputs[3][2:])
    return functional.interpolate(inputs[0], size=size, mode="bilinear", align_corners=False)


Operation = Callable[[Sequence[Any], Mapping[str, Any]], torch.Tensor]
OPERATIONS: dict[str, Operation] = {
    "Add": lambda inputs, told: inputs[0] + inputs[1],
    "Cast": lambda inputs, told: inputs[0],
    "Concat": lambda inputs, told: torch.cat(list(inputs), dim=told["axis"].i),
    "Constant": lambda inputs, told: _tensor(told["value"].t),
    "Conv": _convolution,
    "Gather": lambda inputs, told: inputs[0][inputs[1]],
    "MaxPool": _pool,
    "Relu": lambda inputs, told: inputs[0].relu(),
    "Resize": _resize,
    "Shape": lambda inputs, told: torch.tensor(inputs[0].shape),
    "Sigmoid": lambda inputs, told: inputs[0].sigmoid(),
    "Slice": lambda inputs, told: inputs[0][int(inputs[1]) : int(inputs[2])],
    "Unsqueeze": lambda inputs, told: inputs[0].reshape(1),
}
