"""What a pickled weight file holds, and how it is written as safetensors. Runs in the child only.

Of torch's zip files only the description of the tensors is unpickled, and their bytes are copied
from where they lie in the file; the older form is read as a whole. Unpickling is torch's own with
`weights_only`, which calls nothing but what builds tensors.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

CHUNK_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 1_000_000
MAX_DEPTH = 16
MAX_HEADER_BYTES = 100_000_000
# A weight that two names share is written twice; more than that no honest file asks for.
MOST_PER_BYTE = 2
SMALL_BYTES = 64 * 1024 * 1024
ZIP = b"PK\x03\x04"
# Notes of a training beside the weights. None of their code is run: an inert value stands for each.
NOTES = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "argparse.Namespace",
)
PARAMETERS = "torch.nn.modules.container.ParameterDict"
# What a training saves beside the weights, and where it puts the weights themselves.
LEFTOVERS = frozenset(
    {
        *("optimizer", "optimizer_states", "optimizer_state_dict", "scheduler", "lr_schedulers"),
        *("callbacks", "loops", "hyper_parameters", "string_to_token"),
    }
)
WRAPPERS = ("state_dict", "model_state_dict", "params_ema", "params", "model", "module", "weights")
EMBEDDINGS = "string_to_param"
DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip

Say = Callable[[Mapping[str, Any]], None]


class Refused(Exception):
    """The file holds what is not converted, or more than may be. `kind` as in an answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Inert:
    """Stands for a value that is not weights: it takes everything and does nothing."""

    def __new__(cls, *_args: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any) -> None:
        return

    def __setstate__(self, _state: Any) -> None:
        return


class Parameters(dict[str, Any]):
    """Stands for torch's `ParameterDict`: the parameters, without the module around them."""

    def __setstate__(self, state: Any) -> None:
        values = state.get("_parameters") if isinstance(state, dict) else None
        if isinstance(values, dict):
            self.update(values)


class Source(io.BufferedReader):
    """An open file that does not tell its descriptor, so that torch takes all bytes through it."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation


class Piece:
    """One tensor, and where its bytes come from: the file, or memory.

    Raises Refused for one that safetensors cannot hold, or that reaches out of the file.
    """

    def __init__(self, name: str, tensor: Any, source_bytes: int) -> None:
        import torch

        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_quantized:
            raise Refused("contents", f"tensor {name[:100]!r} is {dtype}, which is not converted")
        self.name, self.dtype, self.shape = name, DTYPES[dtype], tuple(tensor.shape)
        self.size_bytes = tensor.numel() * tensor.element_size()
        self._tensor = tensor.detach()
        self._start = 0
        if tensor.device.type == "meta" and self.size_bytes:
            self._start = self._place(source_bytes)

    def chunks(self, source: Source) -> Iterator[Any]:
        """Its bytes in row-major order."""
        if not self.size_bytes:
            return
        if self._tensor.device.type != "meta":
            yield _bytes_of(self._tensor)
        elif self._tensor.is_contiguous():
            yield from _read(source, self._start, self.size_bytes)
        else:
            yield _bytes_of(self._gathered(source))

    def _place(self, source_bytes: int) -> int:
        """Where in the file its first element lies."""
        start = getattr(self._tensor.untyped_storage(), "_checkpoint_offset", None)
        if not isinstance(start, int):
            raise Refused("contents", f"tensor {self.name[:100]!r} has no place in the file")
        start += int(self._tensor.storage_offset()) * int(self._tensor.element_size())
        if start < 0 or start + self._reach() > source_bytes:
            raise Refused(
                "contents", f"tensor {self.name[:100]!r} ends after the file; copy it again"
            )
        return start

    def _reach(self) -> int:
        """Bytes from its first element to the end of its last."""
        steps = zip(self._tensor.shape, self._tensor.stride(), strict=True)
        last: int = sum((count - 1) * stride for count, stride in steps)
        size: int = self._tensor.element_size()
        return (last + 1) * size

    def _gathered(self, source: Source) -> Any:
        """In memory: its elements do not lie in the file in their order."""
        import torch

        raw = bytearray().join(_read(source, self._start, self._reach()))
        flat = torch.frombuffer(raw, dtype=self._tensor.dtype)
        return flat.as_strided(self._tensor.shape, self._tensor.stride())


def allow_notes() -> None:
    """Let the unpickler pass over the notes of a training."""
    import torch

    stand_ins: list[Any] = [(Inert, name) for name in NOTES]
    torch.serialization.add_safe_globals([*stand_ins, (Parameters, PARAMETERS)])


def convert(source: Source, target: BinaryIO, orders: Mapping[str, Any], say: Say) -> None:
    """Write the weights of an open file. Raises Refused, and whatever torch raises.

    `orders`: `source_bytes`, and `most_bytes` that the result may take. `say` gets `{"fraction"}`
    now and then, and `{"done": bytes}` last.
    """
    weights = weights_of(load(source))
    pieces = [Piece(name, tensor, orders["source_bytes"]) for name, tensor in weights.items()]
    header = header_of(pieces)
    total = len(header) + sum(piece.size_bytes for piece in pieces)
    if total > MOST_PER_BYTE * orders["source_bytes"] + SMALL_BYTES:
        raise Refused("contents", f"its {orders['source_bytes']} bytes would become {total}")
    if total > orders["most_bytes"]:
        raise Refused("space", f"its safetensors file takes {total} bytes")
    written, told = target.write(header), 0
    for piece in pieces:
        for chunk in piece.chunks(source):
            written += target.write(chunk)
            if written - told >= CHUNK_BYTES:
                told = written
                say({"fraction": round(written / total, 4)})
    target.flush()
    os.fsync(target.fileno())
    say({"done": written})


def load(source: Source) -> Any:
    """What the file holds; the tensors of a zip file have no data."""
    import torch

    is_zip = source.read(len(ZIP)) == ZIP
    source.seek(0)
    return torch.load(source, map_location="meta" if is_zip else "cpu", weights_only=True)


def weights_of(loaded: Any) -> dict[str, Any]:
    """Name → tensor, without the wrapping and the leftovers of a training. Raises Refused."""
    loaded = _unwrapped(loaded)
    if isinstance(loaded, dict) and isinstance(loaded.get(EMBEDDINGS), dict):
        # One embedding, whose key says nothing; safetensors files of the kind call it so.
        embeddings = [tensor for _, tensor in _tensors(loaded[EMBEDDINGS])]
        loaded = {"emb_params": embeddings[0]} if len(embeddings) == 1 else loaded
    found: dict[str, Any] = {}
    for name, tensor in _tensors(loaded):
        if name in found:
            raise Refused("contents", f"the name {name[:100]!r} appears twice")
        found[name] = tensor
    if not found:
        raise Refused("contents", "there are no tensors in it")
    return found


def _unwrapped(loaded: Any) -> Any:
    for _ in range(MAX_DEPTH):
        inside = [loaded.get(name) for name in WRAPPERS] if isinstance(loaded, dict) else []
        inner = next((value for value in inside if isinstance(value, dict)), None)
        if inner is None:
            break
        loaded = inner
    return loaded


def header_of(pieces: list[Piece]) -> bytes:
    """The start of a safetensors file, up to the first tensor. Raises Refused."""
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for piece in pieces:
        end = position + piece.size_bytes
        described[piece.name] = {
            "dtype": piece.dtype,
            "shape": piece.shape,
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES or len(described) != len(pieces) + 1:
        raise Refused("contents", "its names do not fit into a safetensors header")
    return len(text).to_bytes(8, "little") + text


def _tensors(loaded: Any) -> Iterator[tuple[str, Any]]:
    """Name and tensor, with dots between the names of nested mappings. Raises Refused."""
    import torch

    if isinstance(loaded, torch.Tensor):
        raise Refused("contents", "it is one tensor without a name")
    pending, seen = [("", loaded, 0)], 0
    while pending:
        prefix, value, depth = pending.pop()
        seen += 1
        if seen > MAX_TENSORS or depth > MAX_DEPTH:
            raise Refused("contents", "it is nested too deeply, or has too many parts")
        if isinstance(value, torch.Tensor):
            yield prefix, value
        elif isinstance(value, Mapping):
            inner = [
                (f"{prefix}.{name}" if prefix else name, item, depth + 1)
                for name, item in value.items()
                if isinstance(name, str) and not (depth == 0 and name in LEFTOVERS)
            ]
            pending.extend(reversed(inner))


def _bytes_of(tensor: Any) -> memoryview:
    import torch

    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def _read(source: Source, start: int, count: int) -> Iterator[bytes]:
    source.seek(start)
    while count > 0:
        chunk = source.read(min(CHUNK_BYTES, count))
        if not chunk:
            raise Refused("contents", "the file ended early; copy it again")
        count -= len(chunk)
        yield chunk
