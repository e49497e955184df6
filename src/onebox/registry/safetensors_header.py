"""The header of a safetensors file, parsed as the hostile input it may be.

Layout: 8 bytes little-endian length, that many bytes of JSON, then the data section. Tensors must
cover the data section without holes or overlaps, so a truncated copy never parses.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any, BinaryIO, NamedTuple

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import TensorInfo

MAX_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 64
_METADATA = "__metadata__"
# Of the metadata only what describes the model in the words of Stability's ModelSpec is kept, and
# of that no pictures: trainers write whole lists of their files beside it.
_DESCRIBES = "modelspec."
_MAX_DESCRIPTIONS, _MAX_CHARACTERS = 64, 200
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip


class Header(NamedTuple):
    """Tensors in the order of their data, and what the file says of itself."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_header(file: BinaryIO, file_bytes: int) -> Header:
    """Parse the header of an open file. Raises ModelBroken with the reason."""
    length = header_length(_read_exactly(file, _LENGTH_BYTES), file_bytes)
    return parse_header(_read_exactly(file, length), file_bytes - _LENGTH_BYTES - length)


def header_length(prefix: bytes, file_bytes: int) -> int:
    """The header's length, at most what the file can hold and what we care to read."""
    if len(prefix) < _LENGTH_BYTES:
        raise ModelBroken(f"the file ends after {len(prefix)} bytes; copy it again")
    length = int.from_bytes(prefix, "little")
    if length > file_bytes - _LENGTH_BYTES:
        raise ModelBroken(
            f"the header claims {length} bytes but the file has {file_bytes}; "
            "it is cut short or not safetensors"
        )
    if length > MAX_HEADER_BYTES:
        raise ModelBroken(f"the header claims {length} bytes; at most {MAX_HEADER_BYTES} are read")
    return length


def parse_header(raw: bytes, data_bytes: int) -> Header:
    """Of the header's JSON. Raises ModelBroken with the reason."""
    header = _parse_json(raw)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise ModelBroken(f"{_METADATA} must map text to text")
    parsed = sorted(
        (_parse_tensor(name, value) for name, value in header.items()), key=lambda item: item[0]
    )
    _check_coverage([span for span, _, _ in parsed], data_bytes)
    return Header({name: tensor for _, name, tensor in parsed}, _described(metadata))


def _described(metadata: dict[str, str]) -> dict[str, str]:
    kept = (
        (key, value)
        for key, value in metadata.items()
        if key.startswith(_DESCRIBES) and len(key) + len(value) <= _MAX_CHARACTERS
    )
    return dict(itertools.islice(kept, _MAX_DESCRIPTIONS))


def _parse_json(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise ModelBroken("the header is not a JSON object")
    try:
        return json.loads(raw, object_pairs_hook=_unique)  # type: ignore[no-any-return]  # starts with "{"
    except RecursionError:
        raise ModelBroken("the header is nested too deeply") from None
    except ValueError as error:
        raise ModelBroken(f"the header is not JSON: {str(error)[:200]}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _parse_tensor(name: str, value: Any) -> tuple[tuple[int, int], str, TensorInfo]:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(name, "needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _broken(name, f"has the unknown dtype {str(dtype)[:40]!r}")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _broken(name, f"has the impossible shape {str(shape)[:80]}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(name, f"has the impossible data_offsets {str(offsets)[:80]}")
    begin, end = offsets
    # Exact integers: a product that would wrap around 64 bits simply does not match.
    if math.prod(shape) * _BITS[dtype] != (end - begin) * 8:
        raise _broken(
            name, f"is {end - begin} bytes, which is not what {dtype} {str(shape)[:80]} takes"
        )
    return (begin, end), name, TensorInfo(dtype=dtype, shape=tuple(shape), size_bytes=end - begin)


def _are_counts(values: Any) -> bool:
    """Whether it is a list of non-negative integers; booleans are not integers here."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_coverage(spans: list[tuple[int, int]], data_bytes: int) -> None:
    position = 0
    for begin, end in spans:
        if begin != position:
            fault = "overlap" if begin < position else "leave a hole"
            raise ModelBroken(f"the tensors {fault} at byte {min(begin, position)} of the data")
        position = end
    if position != data_bytes:
        raise ModelBroken(
            f"the tensors take {position} bytes but the file holds {data_bytes}; copy it again"
        )


def _broken(name: str, fault: str) -> ModelBroken:
    return ModelBroken(f"tensor {name[:100]!r} {fault}")


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    """`count` bytes, fewer at the end of the file. A raw file may return less than asked for."""
    chunks: list[bytes] = []
    while count > 0 and (chunk := file.read(count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)
