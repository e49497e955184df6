from __future__ import annotations

import contextlib
import io
import random
from typing import Any

import pytest

from onebox.core.errors import ModelBroken
from onebox.registry.safetensors_header import MAX_HEADER_BYTES, header_length, read_header
from tests.unit.registry.fakes import header_bytes, weights


def tensor(begin: int, end: int, *, dtype: Any = "U8", shape: Any = None) -> dict[str, Any]:
    shape = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(raw: bytes) -> Any:
    return read_header(io.BytesIO(raw), len(raw)).tensors


def test_reads_tensors_in_the_order_of_their_data() -> None:
    header = {
        "b": tensor(4, 12, dtype="F16", shape=[2, 2]),
        "a": tensor(0, 4, dtype="F32", shape=[]),
        "__metadata__": {"format": "pt"},
    }
    tensors = read(header_bytes(header) + bytes(12))
    assert list(tensors) == ["a", "b"]
    assert tensors["b"].shape == (2, 2)
    assert tensors["b"].size_bytes == 8


def test_reads_padding_empty_tensors_and_small_dtypes() -> None:
    raw = header_bytes(
        b'{"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},'
        b'"f":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}     '
    )
    assert set(read(raw + b"ab")) == {"e", "f"}


def test_of_the_metadata_only_short_descriptions_of_the_model_are_kept() -> None:
    said = {"modelspec.title": "Ink", "modelspec.thumbnail": "x" * 1000, "ss_tag": "y", "z": ""}
    many = {f"modelspec.{i}": "" for i in range(10_000)}
    raw = header_bytes({"__metadata__": said})
    assert read_header(io.BytesIO(raw), len(raw)).metadata == {"modelspec.title": "Ink"}
    raw = header_bytes({"__metadata__": many})
    assert len(read_header(io.BytesIO(raw), len(raw)).metadata) == 64


def test_agrees_with_the_safetensors_package() -> None:
    safetensors = pytest.importorskip("safetensors")
    raw = weights(b"abcd")
    assert {name for name, _ in safetensors.deserialize(raw)} == set(read(raw))


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "ends after 0 bytes"),
    "seven bytes": (b"1234567", "ends after 7 bytes"),
    "length 2^63": ((1 << 63).to_bytes(8, "little") + b"{}", "cut short"),
    "length 2^64 - 1": (b"\xff" * 8 + b"{}", "cut short"),
    "length one too many": ((3).to_bytes(8, "little") + b"{}", "cut short"),
    "no header": (bytes(8), "not a JSON object"),
    "not JSON": (header_bytes(b"{nonsense"), "not JSON"),
    "not UTF-8": (header_bytes(b'{"\xff\xfe": 1}'), "not JSON"),
    "a list": (header_bytes([1]), "not a JSON object"),
    "something after the object": (header_bytes(b"{} {}"), "not JSON"),
    "deep nesting": (header_bytes(b'{"a":' + b"[" * 200_000), "too deeply"),
    "deep metadata": (header_bytes(b'{"__metadata__":' + b'{"a":' * 100_000), "too deeply"),
    "a number of 5,000 digits": (header_bytes(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
    "twice the same tensor": (
        header_bytes(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "appears twice",
    ),
    "twice the same field": (
        header_bytes(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
        "appears twice",
    ),
    "metadata that is no text": (header_bytes({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata that is a list": (header_bytes({"__metadata__": []}), "__metadata__"),
}

BROKEN_TENSORS: dict[str, tuple[Any, int, str]] = {
    "no object": ({"a": 1}, 0, "needs exactly"),
    "a field missing": ({"a": {"dtype": "U8", "shape": [0]}}, 0, "needs exactly"),
    "a field too many": ({"a": tensor(0, 0) | {"x": 1}}, 0, "needs exactly"),
    "unknown dtype": ({"a": tensor(0, 4, dtype="Q4")}, 4, "unknown dtype"),
    "dtype no text": ({"a": tensor(0, 4, dtype=["U8"])}, 4, "unknown dtype"),
    "negative dimension": ({"a": tensor(0, 4, shape=[-4])}, 4, "impossible shape"),
    "two negative dimensions": ({"a": tensor(0, 4, shape=[-2, -2])}, 4, "impossible shape"),
    "fractional dimension": ({"a": tensor(0, 4, shape=[4.0])}, 4, "impossible shape"),
    "boolean dimension": ({"a": tensor(0, 1, shape=[True])}, 1, "impossible shape"),
    "shape no list": ({"a": tensor(0, 4, shape="4")}, 4, "impossible shape"),
    "too many dimensions": ({"a": tensor(0, 1, shape=[1] * 65)}, 1, "impossible shape"),
    "product wraps 64 bits": ({"a": tensor(0, 0, shape=[2**32, 2**32])}, 0, "is 0 bytes"),
    "size does not fit shape": ({"a": tensor(0, 4, shape=[5])}, 4, "is 4 bytes"),
    "negative offset": ({"a": tensor(-4, 0, shape=[4])}, 0, "impossible data_offsets"),
    "reversed offsets": ({"a": tensor(4, 0, shape=[4])}, 4, "impossible data_offsets"),
    "three offsets": (
        {"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0, 0]}}, 0, "impossible data_off",
    ),
    "beyond the data": ({"a": tensor(0, 8)}, 4, "cut short|copy it again"),
    "overlap": ({"a": tensor(0, 4), "b": tensor(2, 6)}, 6, "overlap at byte 2"),
    "the same bytes twice": ({"a": tensor(0, 4), "b": tensor(0, 4)}, 4, "overlap at byte 0"),
    "hole at the start": ({"a": tensor(2, 4)}, 4, "hole at byte 0"),
    "hole in between": ({"a": tensor(0, 2), "b": tensor(3, 4)}, 4, "hole at byte 2"),
    "bytes left over": ({"a": tensor(0, 4)}, 9, "take 4 bytes but the file holds 9"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_refuses_a_broken_file(raw: bytes, reason: str) -> None:
    with pytest.raises(ModelBroken, match=reason):
        read(raw)


@pytest.mark.parametrize(
    ("header", "data_bytes", "reason"), BROKEN_TENSORS.values(), ids=BROKEN_TENSORS.keys()
)
def test_refuses_a_broken_tensor(header: Any, data_bytes: int, reason: str) -> None:
    with pytest.raises(ModelBroken, match=reason):
        read(header_bytes(header) + bytes(data_bytes))


def test_refuses_a_huge_header_before_reading_it() -> None:
    prefix = (MAX_HEADER_BYTES + 1).to_bytes(8, "little")
    with pytest.raises(ModelBroken, match="at most 100000000"):
        header_length(prefix, file_bytes=10**12)


@pytest.mark.parametrize("kept", range(0, 90, 7))
def test_no_truncated_file_parses(kept: int) -> None:
    raw = weights()
    with pytest.raises(ModelBroken):
        read(raw[: min(kept, len(raw) - 1)])


@pytest.mark.parametrize("seed", range(300))
def test_damaged_bytes_never_raise_anything_else(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(weights())
    for _ in range(chance.randint(1, 4)):
        raw[chance.randrange(len(raw) - 8)] = chance.randrange(256)
    with contextlib.suppress(ModelBroken):
        read(bytes(raw))
