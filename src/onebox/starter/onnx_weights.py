"""Read weights and convolutions out of an ONNX file, with the few messages of the format that this
takes: the onnx package would be a dependency of 30 MB for one voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onebox.core.errors import ModelBroken

_PACKAGE = "onebox.onnx"
# Message → (field, number, type). A capital letter: another message; * in front: a list.
_MESSAGES = {
    "Tensor": (("*dims", 1, "int64"), ("data_type", 2, "int32"), ("name", 8, "string"),
               ("raw_data", 9, "bytes")),
    "Attribute": (("name", 1, "string"), ("f", 2, "float"), ("i", 3, "int64"), ("t", 5, "Tensor"),
                  ("*ints", 8, "int64")),
    "Node": (("*input", 1, "string"), ("*output", 2, "string"), ("op_type", 4, "string"),
             ("*attribute", 5, "Attribute")),
    "Graph": (("*node", 1, "Node"), ("*initializer", 5, "Tensor")),
    "Model": (("graph", 7, "Graph"),),
}  # fmt: skip
# What `data_type` says of float32.
FLOAT = 1


class Convolution(NamedTuple):
    """Names of its weights, as `OnnxWeights.tensors` has them, and its numbers."""

    weight: str
    stride: int
    dilation: int


class OnnxWeights(NamedTuple):
    """Attributes:
    tensors: name → float32 numpy array.
    convolutions: name of its bias without `.bias` → convolution. (Exporters rename weights
        that they fold something into, but not the biases.)
    embeddings: names of tables that rows are taken from.
    slopes: of the leaky ReLUs, in their order.
    order: weight and bias of every convolution that has both, in the order in which they run.
    """

    tensors: Mapping[str, Any]
    convolutions: Mapping[str, Convolution]
    embeddings: tuple[str, ...]
    slopes: tuple[float, ...]
    order: tuple[tuple[str, str], ...]


def read_onnx(path: Path) -> OnnxWeights:
    """Raises ModelBroken when it is not an ONNX file with its weights inside."""
    import numpy as np

    graph = read_graph(path)
    tensors = {
        tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tuple(tensor.dims))
        for tensor in graph.initializer
        if tensor.data_type == FLOAT
    }
    nodes = graph.node
    return OnnxWeights(
        tensors,
        dict(_convolution(node) for node in nodes if _is_biased_convolution(node)),
        tuple(
            node.input[0] for node in nodes if node.op_type == "Gather" and node.input[0] in tensors
        ),
        tuple(_attributes(node)["alpha"].f for node in nodes if node.op_type == "LeakyRelu"),
        tuple(
            (node.input[1], node.input[2])
            for node in nodes
            if node.op_type == "Conv" and len(node.input) == 3
        ),
    )


def read_graph(path: Path) -> Any:
    """The message of the file's graph, with the fields named above. Raises ModelBroken."""
    from google.protobuf.message import DecodeError

    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelBroken(f"{path.name} is not an ONNX file ({error})") from error
    return model.graph


def _is_biased_convolution(node: Any) -> bool:
    return (
        node.op_type in ("Conv", "ConvTranspose")
        and len(node.input) == 3
        and node.input[2].endswith(".bias")
    )


def _convolution(node: Any) -> tuple[str, Convolution]:
    told = _attributes(node)
    stride, dilation = (told[key].ints if key in told else (1,) for key in ("strides", "dilations"))
    name = node.input[2].removesuffix(".bias")
    return name, Convolution(node.input[1], stride[0], dilation[0])


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: attribute for attribute in node.attribute}


def _model_class() -> Any:
    """The class of the message `Model`, of which fields that are not named here are skipped."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE)
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name.lstrip("*"), number=number)
            field.label = kinds.LABEL_REPEATED if name[0] == "*" else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
