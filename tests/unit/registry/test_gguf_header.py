from __future__ import annotations

import contextlib
import io
import random
from typing import Any

import pytest

from onebox.core.errors import ModelBroken
from onebox.registry.gguf_header import (
    MAX_ITEMS,
    MAX_KEPT_ITEMS,
    MAX_TEXT_BYTES,
    TENSOR_TYPES,
    read_gguf_header,
)
from tests.support.gguf import (
    ARRAY,
    Q4_0,
    TEXT,
    UINT32,
    Raw,
    gguf,
    language_model,
    long,
    number,
    tensor,
    text,
)

HUGE = 2**63


def read(raw: bytes) -> Any:
    return read_gguf_header(io.BytesIO(raw), len(raw))


def test_reads_values_lengths_and_tensors() -> None:
    metadata = {"a": 7, "b": "text", "c": 0.5, "d": True, "e": [1, 2], "f": ["x", "yy", "zzz"]}
    tensors = [tensor("w", (2, 32), kind=Q4_0), tensor("n", (3,), 64)]
    header = read(gguf(metadata, tensors, bytes(64 + 12)))
    assert header.metadata == {"a": 7, "b": "text", "c": 0.5, "d": True, "e": (1, 2)}
    assert header.array_lengths == {"e": 2, "f": 3}
    assert header.tensors["w"].dtype == "Q4_0"
    assert header.tensors["w"].shape == (2, 32)
    assert header.tensors["w"].size_bytes == 36
    assert header.tensors["n"].size_bytes == 12


def test_long_arrays_are_counted_and_not_kept() -> None:
    header = read(gguf({"a": [5] * (MAX_KEPT_ITEMS + 1), "b": 1}))
    assert header.metadata == {"b": 1}
    assert header.array_lengths == {"a": MAX_KEPT_ITEMS + 1}


def test_holes_between_tensors_are_padding() -> None:
    tensors = [tensor("a", (1,)), tensor("b", (1,), 32)]
    assert len(read(gguf({}, tensors, bytes(36))).tensors) == 2


def test_agrees_with_the_gguf_package_about_types() -> None:
    constants = pytest.importorskip("gguf.constants")
    sizes = constants.GGML_QUANT_SIZES
    assert {kind.value: (kind.name, *sizes[kind]) for kind in sizes} == TENSOR_TYPES


def array(kind: int, count: int, items: bytes = b"") -> Raw:
    return Raw(number(ARRAY) + number(kind) + long(count) + items)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "needs 4 bytes"),
    "another file": (b"GGML" + bytes(40), "does not begin like"),
    "nothing behind the magic": (b"GGUF", "needs 4 bytes"),
    "version 1": (gguf({}, version=1), "version 1 is not read"),
    "big-endian": (gguf({}, version=3 << 24), "big-endian"),
    "2^63 tensors": (gguf({}, count=HUGE), "claims 9223372036854775808 tensors"),
    "2^63 keys": (gguf({}, keys=HUGE), "claims 9223372036854775808 keys"),
    "more keys than the file can hold": (gguf({}, keys=4000), "needs 52000 bytes"),
    "a key of 2^63 bytes": (
        gguf({}, keys=1)[:24] + long(HUGE) + bytes(64),
        "a key is said to have 92",
    ),
    "a text of 2^63 bytes": (
        gguf({"a": Raw(number(TEXT) + long(HUGE) + b"x")}),
        "value of 'a' is said to have 9223372036854775808 bytes",
    ),
    "a text over the cap": (
        gguf({"a": "x" * (MAX_TEXT_BYTES + 1)}),
        f"at most {MAX_TEXT_BYTES} are read",
    ),
    "a key that is no text": (gguf({}, keys=1)[:24] + text(b"\xff") + number(4) + number(1), "UTF"),
    "twice the same key": (
        gguf({"a": 1}, keys=2)[: 24 + 9 + 8] + text("a") + number(4) + number(1),
        "appears twice",
    ),
    "unknown type of value": (gguf({"a": Raw(number(13) + bytes(8))}), "unknown type 13"),
    "an array of arrays": (gguf({"a": array(ARRAY, 1, bytes(64))}), "unknown type 9"),
    "2^63 numbers": (gguf({"a": array(UINT32, HUGE)}), "claims 9223372036854775808 values"),
    "2^63 texts": (gguf({"a": array(TEXT, HUGE)}), "claims 9223372036854775808 texts"),
    "more numbers than the file can hold": (gguf({"a": array(UINT32, MAX_ITEMS)}), "cut short"),
    "more texts than the file can hold": (gguf({"a": array(TEXT, MAX_ITEMS)}), "cut short"),
    "a text of 2^63 bytes in an array": (gguf({"a": array(TEXT, 1, long(HUGE))}), "cut short"),
    "alignment of nothing": (gguf({"general.alignment": 0}), "general.alignment is 0"),
    "alignment of 3": (gguf({"general.alignment": 3}), "power of two"),
    "alignment that is no number": (gguf({"general.alignment": "x"}), "power of two"),
}
BROKEN_TENSORS: dict[str, tuple[list[bytes], int, str]] = {
    "twice the same": ([tensor("a", (1,)), tensor("a", (1,), 32)], 64, "appears twice"),
    "too many dimensions": ([tensor("a", (1,) * 5)], 4, "5 dimensions"),
    "2^31 dimensions": ([text("a") + number(2**31) + bytes(64)], 4, "2147483648 dimensions"),
    "unknown type": ([tensor("a", (1,), kind=99)], 4, "unknown type 99"),
    "rows that its blocks cannot hold": ([tensor("a", (2, 31), kind=Q4_0)], 40, "rows of 31"),
    "beyond the data": ([tensor("a", (8,))], 31, "ends at byte 32 of the data, which has 31"),
    "no data at all": ([tensor("a", (8,))], 0, "cut short"),
    "an offset of 2^63": ([tensor("a", (1,), HUGE)], 4, "cut short"),
    "a shape whose product wraps 64 bits": ([tensor("a", (2**32, 2**32))], 4, "cut short"),
    "an offset between the lines": ([tensor("a", (1,), 4)], 8, "not aligned"),
    "overlap": ([tensor("a", (16,)), tensor("b", (1,), 32)], 64, "overlaps another at byte 32"),
    "the same place": ([tensor("a", (1,)), tensor("b", (1,))], 4, "overlaps another at byte 0"),
}


@pytest.mark.parametrize(("raw", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_refuses_a_broken_file(raw: bytes, reason: str) -> None:
    with pytest.raises(ModelBroken, match=reason):
        read(raw)


@pytest.mark.parametrize(
    ("tensors", "data_bytes", "reason"), BROKEN_TENSORS.values(), ids=BROKEN_TENSORS.keys()
)
def test_refuses_broken_tensors(tensors: list[bytes], data_bytes: int, reason: str) -> None:
    with pytest.raises(ModelBroken, match=reason):
        read(gguf({}, tensors, bytes(data_bytes)))


def test_no_truncated_file_parses() -> None:
    whole = language_model()
    assert read(whole).tensors
    for kept in range(len(whole)):
        with pytest.raises(ModelBroken):
            read(whole[:kept])


def test_a_file_that_is_shorter_than_its_listing_is_broken() -> None:
    whole = language_model()
    with pytest.raises(ModelBroken, match="ends after 100 bytes"):
        read_gguf_header(io.BytesIO(whole[:100]), len(whole))


class Endless(io.RawIOBase):
    """A file of 2^40 bytes, as sparse files are, that counts what is read of it."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.read_bytes = 0

    def read(self, count: int = -1) -> bytes:
        begin = self.read_bytes
        self.read_bytes += count
        return (self.start[begin : begin + count]).ljust(count, b"\0")


def test_a_huge_file_is_not_read_past_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    cap = 3 * 1024 * 1024
    monkeypatch.setattr("onebox.registry.gguf_header.MAX_HEADER_BYTES", cap)
    file: Any = Endless(gguf({"a": array(TEXT, 400_000)}))
    with pytest.raises(ModelBroken, match="longer than the"):
        read_gguf_header(file, 2**40)
    assert file.read_bytes <= cap


@pytest.mark.parametrize("seed", range(300))
def test_damaged_bytes_never_raise_anything_else(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(language_model())
    for _ in range(chance.randint(1, 4)):
        raw[chance.randrange(len(raw) - 128)] = chance.randrange(256)
    with contextlib.suppress(ModelBroken):
        read(bytes(raw))
