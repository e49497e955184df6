"""The header of a GGUF file, parsed as the hostile input it may be.

Layout (little-endian): "GGUF", version, number of tensors, number of keys; the keys with typed
values; name, dimensions, type and offset of each tensor; padding; the data section. No length or
count is believed before it was held against what the file can hold and against a cap.
"""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import GgufHeader, TensorInfo

# A vocabulary of 262,144 with its merges takes 20 MB; the largest models have some 2,000 tensors.
MAX_HEADER_BYTES = 128 * 1024 * 1024
MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_NAME_BYTES = 256
MAX_TEXT_BYTES = 1024 * 1024
MAX_ITEMS = 8 * 1024 * 1024
MAX_KEPT_ITEMS = 1024
MAX_ALIGNMENT = 1024 * 1024

_CHUNK = 1024 * 1024
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_TEXT, _ARRAY, _BOOLEAN = 8, 9, 7
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
# Type number: (name, values in a block, bytes of a block).
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


class _Reader:
    """Reads forward through the first `MAX_HEADER_BYTES` of a file, a chunk at a time."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self._file = file
        self._limit = min(file_bytes, MAX_HEADER_BYTES)
        self._is_whole = file_bytes <= MAX_HEADER_BYTES
        self._buffer = b""
        self._at = 0
        self._fetched = 0

    @property
    def position(self) -> int:
        return self._fetched - len(self._buffer) + self._at

    def left(self) -> int:
        return self._limit - self.position

    def take(self, count: int) -> bytes:
        """`count` bytes. Raises ModelBroken when the file, or what is read of it, has fewer."""
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        taken = self._buffer[self._at : end]
        self._at = end
        return taken

    def skip(self, count: int) -> None:
        self.require(count)
        while count > 0:
            count -= len(self.take(min(count, _CHUNK)))

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, what: str, cap: int, least_bytes: int) -> int:
        """A number of things that take at least so many bytes each."""
        value: int = self.number("<Q")
        if value > cap:
            raise ModelBroken(f"the header claims {value} {what}; at most {cap} are read")
        self.require(value * least_bytes)
        return value

    def require(self, count: int) -> None:
        if count <= self.left():
            return
        if self._is_whole:
            raise ModelBroken(
                f"the header needs {count} bytes at byte {self.position} of {self._limit}; "
                "the file is cut short or damaged, copy it again"
            )
        raise ModelBroken(f"the header is longer than the {MAX_HEADER_BYTES} bytes that are read")

    def _fill(self, count: int) -> None:
        self.require(count)
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while have < count:
            part = self._file.read(min(max(_CHUNK, count - have), self._limit - self._fetched))
            if not part:
                raise ModelBroken(f"the file ends after {self._fetched} bytes; copy it again")
            parts.append(part)
            have += len(part)
            self._fetched += len(part)
        self._buffer, self._at = b"".join(parts), 0


def read_gguf_header(file: BinaryIO, file_bytes: int) -> GgufHeader:
    """Parse the header of an open file. Raises ModelBroken with the reason."""
    reader = _Reader(file, file_bytes)
    if reader.take(4) != b"GGUF":
        raise ModelBroken("does not begin like a GGUF file")
    _check_version(reader.number("<I"))
    tensor_count = reader.count("tensors", MAX_TENSORS, 24)
    key_count = reader.count("keys", MAX_KEYS, 13)
    metadata: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    for _ in range(key_count):
        key = _text(reader, "a key", MAX_NAME_BYTES)
        if key in metadata or key in lengths:
            raise ModelBroken(f"the key {key[:100]!r} appears twice")
        _read_value(reader, key, metadata, lengths)
    tensors = _read_tensors(reader, tensor_count)
    start = _aligned(reader.position, _alignment(metadata))
    _check_places(tensors, file_bytes - start, _alignment(metadata))
    return GgufHeader(
        metadata=metadata,
        array_lengths=lengths,
        tensors={name: tensor for name, tensor, _ in tensors},
    )


def _check_version(version: int) -> None:
    if version in _VERSIONS:
        return
    if version & 0xFFFF == 0:
        raise ModelBroken("the file is big-endian; convert it with gguf_convert_endian.py")
    raise ModelBroken(f"GGUF version {version} is not read; convert it to version 3")


def _text(reader: _Reader, what: str, cap: int) -> str:
    length: int = reader.number("<Q")
    if length > cap:
        raise ModelBroken(f"{what} is said to have {length} bytes; at most {cap} are read")
    try:
        return reader.take(length).decode()
    except UnicodeDecodeError:
        raise ModelBroken(f"{what} is not UTF-8") from None


def _read_value(
    reader: _Reader, key: str, metadata: dict[str, Any], lengths: dict[str, int]
) -> None:
    kind = reader.number("<I")
    if kind == _TEXT:
        metadata[key] = _text(reader, f"the value of {key[:100]!r}", MAX_TEXT_BYTES)
    elif kind == _ARRAY:
        _read_array(reader, key, metadata, lengths)
    else:
        metadata[key] = _number(reader, key, kind)


def _number(reader: _Reader, key: str, kind: int) -> Any:
    if kind not in _NUMBERS:
        raise ModelBroken(f"the value of {key[:100]!r} has the unknown type {kind}")
    if kind == _BOOLEAN:
        return reader.take(1) != b"\0"
    return reader.number(_NUMBERS[kind])


def _read_array(
    reader: _Reader, key: str, metadata: dict[str, Any], lengths: dict[str, int]
) -> None:
    """Its length; its values only where they are a few numbers."""
    kind: int = reader.number("<I")
    if kind == _TEXT:
        lengths[key] = reader.count(f"texts in {key[:100]!r}", MAX_ITEMS, 8)
        for _ in range(lengths[key]):
            reader.skip(reader.number("<Q"))
        return
    if kind not in _NUMBERS:
        raise ModelBroken(f"the array {key[:100]!r} holds values of the unknown type {kind}")
    width = struct.calcsize(_NUMBERS[kind])
    lengths[key] = reader.count(f"values in {key[:100]!r}", MAX_ITEMS, width)
    if lengths[key] > MAX_KEPT_ITEMS:
        reader.skip(lengths[key] * width)
        return
    metadata[key] = tuple(_number(reader, key, kind) for _ in range(lengths[key]))


def _read_tensors(reader: _Reader, count: int) -> list[tuple[str, TensorInfo, int]]:
    """(name, tensor, offset into the data section) of each."""
    found: dict[str, tuple[str, TensorInfo, int]] = {}
    for _ in range(count):
        name = _text(reader, "a tensor's name", MAX_NAME_BYTES)
        if name in found:
            raise ModelBroken(f"tensor {name[:100]!r} appears twice")
        dimensions: int = reader.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise ModelBroken(f"tensor {name[:100]!r} has {dimensions} dimensions")
        # The file has the fastest running dimension first.
        shape = tuple(reader.number("<Q") for _ in range(dimensions))[::-1]
        tensor = _tensor(name, shape, reader.number("<I"))
        found[name] = name, tensor, reader.number("<Q")
    return list(found.values())


def _tensor(name: str, shape: tuple[int, ...], number: int) -> TensorInfo:
    if number not in TENSOR_TYPES:
        raise ModelBroken(f"tensor {name[:100]!r} has the unknown type {number}")
    kind, block, block_bytes = TENSOR_TYPES[number]
    if (shape[-1] if shape else 1) % block:
        raise ModelBroken(
            f"tensor {name[:100]!r} has rows of {shape[-1]}, which {kind} cannot hold"
        )
    return TensorInfo(kind, shape, math.prod(shape) // block * block_bytes)


def _alignment(metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise ModelBroken(f"general.alignment is {str(value)[:40]}; it must be a power of two")
    return value


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _check_places(
    tensors: list[tuple[str, TensorInfo, int]], data_bytes: int, alignment: int
) -> None:
    """Every tensor lies inside the data section, and no two overlap."""
    position = 0
    for name, tensor, offset in sorted(tensors, key=lambda item: item[2]):
        if offset % alignment:
            raise ModelBroken(f"tensor {name[:100]!r} is not aligned to {alignment} bytes")
        if offset < position:
            raise ModelBroken(f"tensor {name[:100]!r} overlaps another at byte {offset}")
        position = offset + tensor.size_bytes
        if position > data_bytes:
            raise ModelBroken(
                f"tensor {name[:100]!r} ends at byte {position} of the data, which has "
                f"{max(data_bytes, 0)}; the file is cut short, copy it again"
            )
