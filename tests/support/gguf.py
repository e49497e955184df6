"""GGUF files made by hand, so that every byte of them can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

TEXT, ARRAY, FLOAT, UINT32, BOOLEAN = 8, 9, 6, 4, 7
F32, Q4_0 = 0, 2
ALIGNMENT = 32


class Raw(bytes):
    """A value that is written as it is: its type number and what follows."""


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def long(value: int) -> bytes:
    return struct.pack("<Q", value)


def typed(value: Any) -> bytes:
    """A value behind its type number; lists are arrays of texts or of 32-bit numbers."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, bool):
        return number(BOOLEAN) + bytes([value])
    if isinstance(value, str):
        return number(TEXT) + text(value)
    if isinstance(value, float):
        return number(FLOAT) + struct.pack("<f", value)
    if isinstance(value, list):
        of_texts = bool(value) and isinstance(value[0], str)
        items = b"".join(text(item) if of_texts else number(item) for item in value)
        kind = number(TEXT if of_texts else UINT32)
        return number(ARRAY) + kind + long(len(value)) + items
    return number(UINT32) + number(value)


def tensor(name: str, shape: tuple[int, ...], offset: int = 0, kind: int = F32) -> bytes:
    """As in the file: the shape is turned round."""
    sizes = b"".join(long(size) for size in reversed(shape))
    return text(name) + number(len(shape)) + sizes + number(kind) + long(offset)


def gguf(
    metadata: Mapping[str, Any],
    tensors: list[bytes] | None = None,
    data: bytes = b"",
    *,
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    """A whole file. `keys` and `count` are what the header claims, by default the truth."""
    tensors = tensors or []
    head = b"GGUF" + number(version)
    head += long(len(tensors) if count is None else count)
    head += long(len(metadata) if keys is None else keys)
    head += b"".join(text(key) + typed(value) for key, value in metadata.items())
    head += b"".join(tensors)
    return head + bytes(-len(head) % ALIGNMENT) + data


def language_model(**changes: Any) -> bytes:
    """A file that says it is a Llama of one layer; there is nothing in it to load."""
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 128,
        "llama.embedding_length": 8,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "tokenizer.ggml.tokens": ["a", "b", "c"],
        "tokenizer.chat_template": "{{ messages }}",
    }
    metadata |= changes
    tensors = [tensor("token_embd.weight", (3, 8)), tensor("output_norm.weight", (8,), 96)]
    return gguf(metadata, tensors, bytes(128))
